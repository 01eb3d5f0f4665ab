"""The command `innkeeper`: enrolment, PKI, commissioning and rehearsal of a whole property."""
