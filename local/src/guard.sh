# Runs a command until it ends, or until standard input does: then it ends the command and all that
# the command started. The process that holds the other end of standard input may end in any way,
# by SIGKILL too, and leaves nothing behind.
#
# The shell leads a process group of its own; "kill 0" reaches everything in it.
exec 3<&0
"$@" </dev/null 3<&- &
command=$!
(
    read -r _ <&3
    kill -TERM 0
) &
watcher=$!
# The shell outlives the signal, to wait for the command.
trap : TERM
while :; do
    wait "$command"
    status=$?
    kill -0 "$command" 2>/dev/null || break
done
kill -KILL "$watcher" 2>/dev/null
exit "$status"
