# Runs a command until the command or standard input ends. When standard input ends, this script asks
# the command and its whole process group to end, and kills what is left after a second. So the command
# also ends when the process that holds the other end of standard input dies, even by SIGKILL.
#
# The shell leads the group; "kill 0" signals every process in it, including the shell. The command gets
# the same standard input, so its processes in other groups can also notice when standard input closes.
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
# A signal ends `wait` early, so the loop waits again until the command has ended.
while :; do
    wait "$command" 2>/dev/null
    status=$?
    kill -0 "$command" 2>/dev/null || break
done
[ -z "$stopping" ] || kill -KILL 0
kill -KILL "$watcher"
# Ends processes that the command left behind, such as a compiler.
trap '' TERM
kill -TERM 0
exit "$status"
