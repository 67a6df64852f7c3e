"""One module for each place where the shop runs; here there is only `local`."""
