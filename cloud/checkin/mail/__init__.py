"""Letters on their way: the port, the way by SMTP, and a mail server with bad manners to test it against."""
