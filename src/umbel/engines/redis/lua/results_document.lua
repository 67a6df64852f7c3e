-- Storing one document under its key, perhaps in another database.

-- Store a document, and tell it. Telling it is a favour, which a server may refuse (a user without channels): who
-- listens also looks, when all has been silent for a while.
local function store_document(key, document, expires)
  if expires == '0' then
    redis.call('SET', key, document)
  else
    redis.call('SET', key, document, 'PXAT', expires)
  end
  redis.pcall('PUBLISH', key, document)
end

-- Do something in a database, and go back: "" or the numbers of both, such as "1 0".
local function in_database(there_and_back, action)
  local there, back = string.match(there_and_back, '(%d+) (%d+)')
  if there then
    redis.call('SELECT', there)
  end
  action()
  if back then
    redis.call('SELECT', back)
  end
end
