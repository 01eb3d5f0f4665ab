"""Schema versions: one Alembic branch and one version location a module, all brought to their heads together.

A module keeps its versions in `cloud/<module>/migrations/<module>_NNNN.py`: revision id = file name, the
first one with `branch_labels = ("<module>",)`. No version names another module's tables.
"""
