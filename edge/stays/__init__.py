"""The edge's replica of the stays it may have to serve without the cloud, and what it decided about them."""
