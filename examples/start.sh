#!/bin/sh
# Makes a small example folder if there is none, and runs the daemon on it.
set -eu
bin=$1
here=$2
if [ ! -d "$here/pictures" ]; then
    "$bin/python" "$(dirname "$0")/paint.py" "$here/pictures"
fi
if [ ! -f "$here/config.yaml" ]; then
    cat > "$here/config.yaml" <<END
watch:
  - path: $here/pictures
    action: quarantine
state_dir: $here/state
duplicates_log: $here/duplicates.jsonl
END
fi
cat <<END

  twinwatch watches  $here/pictures
  Drop a picture there, or try, in another terminal:
    cp $here/pictures/landscape-03.jpg $here/pictures/copy.jpg
  Within seconds the copy is in quarantine and the log has a line about it:
    tail -f $here/duplicates.jsonl
    $bin/twinwatch list -c $here/config.yaml
    $bin/twinwatch restore --all -c $here/config.yaml
  Stop with Ctrl-C.

END
exec "$bin/twinwatch" run -c "$here/config.yaml"
