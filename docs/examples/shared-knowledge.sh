#!/usr/bin/env bash
# From two texts to a pattern: tell them, find one by the other, let the newer lean on the older, and see where its value went. Run it
# as an operator. Where [cache.remote] is configured, crystallised patterns are shared at the end.
set -euo pipefail

older=$(irerctl data emit local content_created '{"text": "the heat pump of the north hall draws too much power at night"}')
newer=$(irerctl data emit local content_created '{"text": "too much power is drawn by the heat pumps in the north hall"}')

until irerctl -o json data search "heat pump power" --k 2 | grep -q "$newer"; do
  sleep 0.1
done
irerctl data cite "$newer" "$older"

until irerctl -o json data value | grep -q "$older"; do
  sleep 0.1
done
irerctl data patterns
irerctl data topology
irerctl data value
irerctl data sync || echo "nothing was shared: there is no far end"
