"""An S3 server in this process: what it holds, how it fails, its listings, its HTTP."""
