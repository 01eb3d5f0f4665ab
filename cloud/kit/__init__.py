"""Ground of the cloud's modules: the database, transactional events, notifications, times at the rim."""
