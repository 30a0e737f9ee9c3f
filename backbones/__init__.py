"""Open recipes that pretrain the small backbones shipped inside the package; not part of the library."""
