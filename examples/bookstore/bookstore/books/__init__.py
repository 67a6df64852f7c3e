"""Books, who reads them, and who pays."""
