#!/bin/sh
# Repairs a ComfyUI for FLUX.2 [klein] 4B without a question, and runs again where that helps.
# Exit codes: 0 done, 1 problems remain, 4 a fix was taken back, 7 try again, 8 restart first.
set -u
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}" # cloud-init and systemd set none
export HOME
doctor=${DOCTOR:-klein-doctor}
comfyui=${COMFYUI:-$HOME/ComfyUI}
logs=${LOGS:-/var/log}
tries=${TRIES:-3}
# An empty folder is where a new ComfyUI may go.
[ -e "$comfyui" ] || mkdir "$comfyui"

while :; do
    "$doctor" --fix --comfyui "$comfyui" --deadline 45m --log "$logs/klein-doctor.log" \
        --format json --output "$logs/klein-doctor.json"
    code=$?
    tries=$((tries - 1))
    # What a first run mended may show what else there is, as requirements once PyTorch is there.
    [ "$code" = 7 ] || { [ "$code" = 1 ] && grep -q '"changed": true' "$logs/klein-doctor.json"; } ||
        break
    [ "$tries" -gt 0 ] || break
    sleep "${PAUSE:-60}"
done

# A guard mends no failure, so it is asked for by its name; a second time it changes nothing.
if [ "$code" = 0 ]; then
    "$doctor" --fix --comfyui "$comfyui" --only guard-torch --log "$logs/klein-doctor.log" \
        --format brief --output "$logs/klein-doctor.guard.txt"
    code=$?
fi
exit "$code"
