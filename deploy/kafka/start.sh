#!/usr/bin/env bash
# One Apache Kafka broker (KRaft) on 127.0.0.1, in the foreground, until SIGTERM.
#
#   start.sh where                            say where the jars lie, or will
#   start.sh fetch                            fetch them there, once, with Maven
#   start.sh FOLDER PORT CONTROLLER_PORT      run; FOLDER keeps topics, offsets and groups
#
# FOLDER/extra.properties, if there, is added to the broker's settings and wins over them;
# FOLDER/format.args is added to the formatting of a new FOLDER (first users of SCRAM).
# JAVA_OPTS is the JVM's (default: -Xmx512m); SPENDWATCH_CACHE is where the jars lie.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version="$(sed -n 's:^  <version>\(.*\)</version>$:\1:p' "$here/pom.xml")"
jars="${SPENDWATCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spendwatch}/kafka-$version"

fetch() {
  [[ -d "$jars" ]] && return
  mkdir -p "$(dirname "$jars")"
  local part
  part="$(mktemp -d "$jars.XXXXXX")"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$part" >&2
  # Whoever is first wins; a folder that is there is whole.
  mv -T "$part" "$jars" 2>/dev/null || rm -rf "$part"
}

run() {
  exec java "-Dlog4j2.configurationFile=$here/log4j2.xml" -cp "$jars/*" "$@"
}

[[ "${1:-}" == where ]] && { echo "$jars"; exit; }
fetch
[[ "$1" == fetch ]] && exit
folder="$1" port="$2" controller="$3"
mkdir -p "$folder"
cat >"$folder/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=CLIENT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=CLIENT://127.0.0.1:$port
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
log.dirs=$folder/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# A killed broker may register again when its old session has run out, after 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
END
[[ -f "$folder/extra.properties" ]] && cat "$folder/extra.properties" >>"$folder/server.properties"
if [[ ! -f "$folder/data/meta.properties" ]]; then
  extra=()
  [[ -f "$folder/format.args" ]] && mapfile -t extra <"$folder/format.args"
  (run -Xmx256m -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format \
    -t "$(head -c16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d =)" \
    -c "$folder/server.properties" "${extra[@]}" >"$folder/format.log")
fi
# shellcheck disable=SC2086
run ${JAVA_OPTS:--Xmx512m} kafka.Kafka "$folder/server.properties"
