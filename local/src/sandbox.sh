# Runs a function as Lambda runs its sandboxes: when its process ends, however it ends, it is started
# again, a second later. cargo-lambda itself would leave the function without a process until the next
# edit, and its requests without an answer.
#
# The function ends with the local run: all that is in this process group is killed when standard input
# ends, whose other end the local run holds.
#
# The function's name moves from this script's arguments into a variable: `pkill -f create-user` is about the
# function, and must not end the script that starts it again.
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
