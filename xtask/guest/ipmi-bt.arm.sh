# Somebody on the BMC of the suite ipmi-bt opens its disk for one update.
inbandd arm volume --config inbandd.toml >/dev/null
