#!/usr/bin/env bash
# Queue three steps, each after the one before, and wait until the last has ended. Run it as an operator.
set -euo pipefail

night=${1:-$(date +%F)}

irerctl engine submit "collect-$night" --resource-type network --units 2 --duration-s 0.2 --priority low
irerctl engine submit "pack-$night" --resource-type compute --units 4 --duration-s 0.2 --depends-on "collect-$night"
irerctl engine submit "store-$night" --resource-type storage --duration-s 0.1 --depends-on "pack-$night"

until irerctl -o jsonl engine tasks --state done | grep -q "\"store-$night\""; do
  sleep 0.2
done
echo "night shift $night done"
