#!/usr/bin/env bash
# New secrets for docker-compose.yml in a folder (default: deploy/secrets); what is there stays.
#
# Containers run as nobody in particular and must read them: the folder is private, the files in it
# are not.
set -euo pipefail
folder="${1:-$(dirname "${BASH_SOURCE[0]}")/secrets}"
mkdir -p -m 700 "$folder"

word() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

for name in admin-token store-password grafana-password slack-signing-secret; do
  [[ -s "$folder/$name" ]] || word >"$folder/$name"
done
# The user "default" may ask whether the server lives; "spendwatch" may do what deploy/config.toml
# says of an ACL user, to its own keys.
cat >"$folder/users.acl" <<END
user default on nopass resetkeys resetchannels -@all +ping
user spendwatch on #$(printf %s "$(<"$folder/store-password")" | sha256sum | cut -d' ' -f1) ~spendwatch:* resetchannels -@all +@read +@write +@scripting +@connection +time -@dangerous
END
chmod 644 "$folder"/*
