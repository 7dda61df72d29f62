#!/bin/sh
# Starts redis-server with the password of REDISCLI_AUTH, which redis-cli reads as well. It is passed as a line of
# configuration on standard input: arguments are visible to everybody on the node, and a file would outlive the process.
# In hexadecimal, no character of a password means anything to redis.conf.
set -eu
: "${REDISCLI_AUTH:?the Secret with the password of Redis is empty: give it a password}"
hexadecimal=$(printf %s "$REDISCLI_AUTH" | od -An -v -tx1 | tr -d '\n' | sed 's/ /\\x/g')
exec redis-server "$@" - <<END
requirepass "$hexadecimal"
END
