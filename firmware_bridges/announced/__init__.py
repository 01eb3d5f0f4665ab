"""What devices announce of themselves to Home Assistant, recorded: `announcements/*.json`, read by recorded.py."""
