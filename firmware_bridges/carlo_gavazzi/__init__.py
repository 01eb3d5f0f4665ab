"""Carlo Gavazzi energy analysers, Modbus."""
