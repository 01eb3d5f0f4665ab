"""The ground every program stands on: clock, dice, supervision, queues, settings, logs, metrics, health."""
