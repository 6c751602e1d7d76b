# Somebody on the BMC of the suite ipmi grants its host one more session.
inbandd arm dfu --config inbandd.toml >/dev/null
