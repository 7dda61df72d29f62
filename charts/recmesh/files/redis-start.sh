#!/bin/sh
# Starts redis-server with the users and certificates of mounted files, and applies changes of the files to the running
# server, with sh of Debian or Alpine:
#
#     sh start.sh /etc/redis/redis.conf
#
# Files:
#   /etc/redis-auth/users.acl     users, a line each, with hashes of their passwords (recmesh/stores/acl.py). A change
#                                 closes no connection, except those of a user that is removed.
#   /etc/redis-tls/tls.crt, tls.key, ca.crt   named in redis.conf if there is a tls-port. Connections stay open when they
#                                 change; new ones get the new certificate.
#   /run/redis                    an empty folder that only this pod can reach and write: redis.sock, a socket without TLS
# Variables:
#   REDIS_DEFAULT_USER=nopass     clients without a name and a password are let in, except for dangerous commands: for
#                                 the time of an upgrade from a Redis without users
#   REDIS_DEFAULT_PASSWORD        the same for clients without a name that send this password
#   REDISCLI_AUTH                 without users.acl: the password of Redis. Otherwise not read here.
#   REDIS_POLL_SECONDS=5          how often the files are compared
#   REDIS_AUTH, REDIS_TLS, REDIS_RUN   other folders than those above
#
# A probe of the pod that needs neither TLS nor a restart after a change of its password:
#   sh -c 'REDISCLI_AUTH=$(cat /etc/redis-auth/probe) exec redis-cli -s /run/redis/redis.sock --user probe -e exists recmesh'
#
# Passwords and hashes go through standard input: arguments are visible to everybody on the node, and a file of
# configuration would outlive the process. ACL LOAD would close the connections of all users, therefore the users are
# lines of the configuration here, and ACL SETUSER changes them. The user `admin`, who may do this and no more, has a
# random password that only this process knows.
set -euf

tls=${REDIS_TLS:-/etc/redis-tls}
run=${REDIS_RUN:-/run/redis}
users=${REDIS_AUTH:-/etc/redis-auth}/users.acl
admin=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')

hashed() {
  printf %s "$1" | sha256sum | cut -d ' ' -f 1
}

default_user() {
  allowed='resetchannels ~* +@all -@admin -@dangerous'
  if [ -n "${REDIS_DEFAULT_PASSWORD:-}" ]; then
    echo "user default on resetpass #$(hashed "$REDIS_DEFAULT_PASSWORD") $allowed"
  elif [ "${REDIS_DEFAULT_USER:-}" = nopass ]; then
    echo "user default on nopass $allowed"
  else
    echo 'user default off resetpass resetkeys resetchannels -@all'
  fi
}

# The users as lines of redis.conf. Fails if the file has none, so that a damaged file removes nobody.
listed_users() {
  named=$(grep '^user ' "$users" | grep -v '^user default ') || {
    echo "$users has no line 'user NAME RULE...'" >&2
    return 1
  }
  default_user
  printf '%s\n' "$named"
}

access() {
  if [ -e "$users" ]; then
    listed_users
  elif [ -n "${REDISCLI_AUTH:-}" ]; then
    # In hexadecimal, no character of a password means anything to redis.conf.
    echo "requirepass \"$(printf %s "$REDISCLI_AUTH" | od -An -v -tx1 | tr -d '\n' | sed 's/ /\\x/g')\""
  else
    echo "there is no $users, and the Secret with the password of Redis is empty: give it a password" >&2
    return 1
  fi
}

state() {
  cat "$users" "$tls/tls.crt" "$tls/tls.key" "$tls/ca.crt" 2> /dev/null | sha256sum
}

# Sends the commands of standard input, and shows all answers but OK.
send() {
  REDISCLI_AUTH=$admin redis-cli -s "$run/redis.sock" --user admin 2>&1 | grep -v -e '^OK$' -e '^$' || true
}

apply_users() {
  new=$(listed_users 2>&1) || { echo "$new"; return; }
  faults=$(printf '%s\n' "$new" | sed 's/^user \([^ ]*\) /ACL SETUSER \1 reset /' | send)
  [ -z "$faults" ] || { echo "$faults"; return; }
  echo 'ACL USERS' | send | grep -v -x -e admin -e default | while read -r name; do
    printf '%s\n' "$new" | grep -q "^user $name " || echo "ACL DELUSER $name" | send | grep -v '^[0-9]*$' || true
  done
}

apply_certificates() {
  echo "CONFIG SET tls-cert-file $tls/tls.crt tls-key-file $tls/tls.key tls-ca-cert-file $tls/ca.crt" | send
}

watch() {
  applied=$1
  while sleep "${REDIS_POLL_SECONDS:-5}" && kill -0 $$ 2> /dev/null; do
    now=$(state)
    [ "$now" != "$applied" ] || continue
    faults=$(if [ -e "$users" ]; then apply_users; fi; if [ -e "$tls/tls.crt" ]; then apply_certificates; fi)
    if [ -z "$faults" ]; then
      applied=$now
      echo 'users and certificates are applied'
    else
      printf 'users or certificates are not applied, and tried again: %s\n' "$faults" >&2
    fi
  done
}

begun=$(state) # before the files are read, so that no later change is missed
lines=$(access)
if [ -e "$users" ] || [ -e "$tls/tls.crt" ]; then
  [ -w "$run" ] || { echo "$run is not writable: mount an empty folder there" >&2; exit 1; }
  lines="$lines
user admin on #$(hashed "$admin") resetchannels -@all +acl|setuser +acl|deluser +acl|users +config|set
unixsocket $run/redis.sock
unixsocketperm 700"
  watch "$begun" < /dev/null &
fi
exec redis-server "$@" - << END
$lines
END
