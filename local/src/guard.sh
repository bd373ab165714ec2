# Runs a command until the command ends or standard input closes. When standard input closes, this
# script sends SIGTERM to the command and its whole process group, and SIGKILL a second later. So
# the command also ends when the process at the other end of standard input dies, even by SIGKILL.
#
# This shell leads its process group, and "kill 0" sends a signal to every process in the group. A
# process that the command starts in another group gets no signal. But it inherits standard input,
# so it can notice when standard input closes.
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
# End the processes that the command left behind, such as a compiler.
trap '' TERM
kill -TERM 0
exit "$status"
