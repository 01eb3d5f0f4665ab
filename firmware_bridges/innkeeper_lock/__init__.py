"""The reference lock, emulated: the lock's side of protocols/door on a virtual Bluetooth controller. See SPEC.md."""
