"""The edge's Bluetooth: the port `edge.doors.radio.DoorRadio` over bleak, on BlueZ or on the emulated radio.

Decides nothing about doors. Answers for: which adapter (choice.py), listening without end (sightings.py), how many
connections at once (slots.py), and one exchange of values with one lock within its deadlines (door_radio.py).
"""
