"""Who is asking: client certificates, bearer tokens. Answers a User or refuses; decides no permissions."""
