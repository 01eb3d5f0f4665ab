"""Tests of provisioning/descriptors."""
