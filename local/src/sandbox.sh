# Runs a function, and starts it again a second after its process ends. Lambda also replaces a
# sandbox whose process has ended. Without this script, cargo-lambda would start the function again
# only after the next edit of the code. Until then, requests would get no answer.
#
# This script's standard input is a pipe, and the local run holds the pipe's write side. When the
# local run stops in any way, the pipe closes. Then this script kills its own process group, which
# contains the function.
#
# `pkill -f create-user` must find only the function, not this script. So this script first runs
# itself again, with the function's path in an environment variable instead of in the arguments.
if [ -z "${SANDBOXED-}" ]; then
    export SANDBOXED="$1"
    shift
    exec sh "$0" "$@"
fi
function=$SANDBOXED
unset SANDBOXED
exec 3<&0
(
    read -r _ <&3
    kill -KILL 0
) &
while :; do
    "$function" "$@" </dev/null 3<&-
    echo "make run: the function ${function##*/} ended (status $?) and is started again" >&2
    sleep 1
done
