# Runs a command until it ends, or until standard input does: then it ends the command and all that
# is in its process group, and kills what has not ended after a second. So the process that holds the
# other end of standard input may end in any way, by SIGKILL too, and the command ends with it.
#
# The shell leads the group; "kill 0" reaches everything in it, the shell included. The command has the
# same standard input, so that whatever it starts in another group may end in the same way.
stopping=
trap 'stopping=yes' TERM
exec 3<&0
"$@" <&3 3<&- &
command=$!
(
    trap '' TERM
    read -r _ <&3
    kill -TERM 0
    sleep 1
    kill -KILL 0
) &
watcher=$!
# A signal ends `wait` early, so it waits again until the command has really ended.
while :; do
    wait "$command" 2>/dev/null
    status=$?
    kill -0 "$command" 2>/dev/null || break
done
[ -z "$stopping" ] || kill -KILL 0
kill -KILL "$watcher"
# What the command has left behind when it ended by itself, such as a compiler.
trap '' TERM
kill -TERM 0
exit "$status"
