# When a function's process ends, this script starts the function again after a second. Lambda also
# replaces the sandbox of a function whose process has ended. Without this script, the function would
# have no process until the next edit, and requests would get no answer.
#
# The function ends when the local run ends. The local run holds the other end of standard input; when
# that end closes, this script kills its own process group.
#
# Moves the function's path from the arguments to an environment variable, so that `pkill -f create-user`
# finds only the function, not this script.
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
