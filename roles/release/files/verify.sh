#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Verifies the evidence of a run, offline and with standard tools: sh verify.sh [<digest of the first trust policy> [<witness key>]]
#
# README.md beside it explains each step, so that it can be done by hand. One line is printed for each step; the first that
# fails ends it with exit code 1. Nothing is written but below a temporary directory. It takes openssl 3, awk, base64 and
# sha256sum, and of a minimal Debian: cat, cmp, cut, find, mktemp, od, rm, sed, sort, tail, tr, wc.
set -u
LC_ALL=C
export LC_ALL
case $0 in */*) cd "${0%/*}" || exit 1 ;; esac
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
first_policy=${1:-}
witness_key=${2:-}
verified=''

fail() {
    printf 'FAILED  %s\n' "$*"
    exit 1
}

ok() {
    printf 'ok      %s\n' "$*"
}

# digest FILE: its sha256, in hex.
digest() {
    sha256sum <"$1" | cut -c 1-64
}

# bytes HEX: the bytes.
bytes() {
    # shellcheck disable=SC2059  # the format is made of octal escapes and nothing else
    printf "$(awk -v hex="$1" 'BEGIN {
        for (i = 1; i < length(hex); i += 2)
            printf "\\%03o", (index("0123456789abcdef", substr(hex, i, 1)) - 1) * 16 + index("0123456789abcdef", substr(hex, i + 1, 1)) - 1
    }')"
}

# hex: the bytes of standard input, in hex.
hex() {
    od -An -v -tx1 | tr -d ' \n'
}

# flatten FILE: canonical JSON as lines of a path, a tab and a value: a/b/0 <tab> text. Escapes in strings stay as they are.
flatten() {
    awk '
    function path(   i, text) {
        for (i = 1; i <= depth; i++)
            text = text (i > 1 ? "/" : "") (kind[i] == "[" ? place[i] : name[i])
        return text
    }
    function told(value) { print path() "\t" value }
    { text = text $0 }
    END {
        count = split(text, part, "\"")
        for (p = 1; p <= count; p++) {
            for (i = 1; i <= length(part[p]); i++) {
                c = substr(part[p], i, 1)
                if (index("{}[],:", c) && literal != "") { told(literal); literal = "" }
                if (c == "{" || c == "[") { kind[++depth] = c; place[depth] = 0; is_name = (c == "{") }
                else if (c == "}" || c == "]") depth--
                else if (c == ",") { if (kind[depth] == "[") place[depth]++; else is_name = 1 }
                else if (c == ":") is_name = 0
                else literal = literal c
            }
            if (p == count) break
            string = part[++p]
            while (match(string, /\\+$/) && RLENGTH % 2 == 1 && p < count) string = string "\"" part[++p]
            if (kind[depth] == "{" && is_name) { name[depth] = string; if (index(string, "/")) name[depth] = "?" }
            else told(string)
        }
    }' "$1"
}

# value FILE PATH: the one value at PATH of a flattened file; nothing where there is none, or more than one.
value() {
    awk -F '\t' -v path="$2" '$1 == path { count++; found = substr($0, length(path) + 2) } END { if (count == 1) print found }' "$1"
}

# places FILE PATH MEMBER: how many items with this member the array at PATH has.
places() {
    awk -F '\t' -v path="$2/" -v member="$3" 'index($1, path) == 1 {
        rest = substr($1, length(path) + 1)
        if (rest ~ /^[0-9]+\// && substr(rest, index(rest, "/") + 1) == member) count++
    } END { print count + 0 }' "$1"
}

# seconds TIME: the Unix time of 2026-11-21T03:12:56Z; nothing for another form.
seconds() {
    printf '%s\n' "$1" | awk -F '[-T:Z]' '/^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z$/ {
        year = $1 - ($2 < 3)
        month = ($2 + 9) % 12
        days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * month + 2) / 5) + $3 - 719469
        printf "%.0f", ((days * 24 + $4) * 60 + $5) * 60 + $6
    }'
}

# in_order SECONDS SECONDS SECONDS: whether none is later than the next.
in_order() {
    [ -n "$1" ] && [ -n "$2" ] && [ -n "$3" ] && [ "$1" -le "$2" ] && [ "$2" -le "$3" ]
}

# pem HEX: an Ed25519 public key (RFC 8410) as PEM.
pem() {
    printf -- '-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n' "$(bytes "302a300506032b6570032100$1" | base64 -w 0)"
}

# raw PEM: the 32 bytes of a key, in hex.
raw() {
    sed '/^-/d' "$1" | base64 -d 2>/dev/null | tail -c 32 | hex
}

# signed KEY MESSAGE SIGNATURE: whether the key's owner signed these bytes.
signed() {
    openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$2" -sigfile "$3" >/dev/null 2>&1
}

# has LIST ITEM: whether the item is in the list.
has() {
    for item in $1; do
        [ "$item" = "$2" ] && return
    done
    return 1
}

# envelope DIRECTORY: payload, encoding and signatures belong to the envelope, and every signature holds.
envelope() {
    has "$verified" "$1" && return # several hosts' records name the same
    for file in envelope.json payload pae; do
        [ -f "$1/$file" ] || fail "$1/$file is missing"
    done
    flatten "$1/envelope.json" >"$work/envelope"
    value "$work/envelope" payload | tr -- '-_' '+/' | base64 -d 2>/dev/null | cmp -s - "$1/payload" ||
        fail "$1/payload is not the payload in the envelope"
    type=$(value "$work/envelope" payloadType)
    {
        printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c <"$1/payload")"
        cat "$1/payload"
    } | cmp -s - "$1/pae" || fail "$1/pae is not the pre-authentication encoding of the payload"
    for signature in "$1"/*.sig; do
        [ -f "$signature" ] || fail "$1 has no signature"
        encoded=$(base64 -w 0 "$signature")
        [ -n "$(awk -F '\t' -v sig="$encoded" '{ gsub("-", "+", $2); gsub("_", "/", $2) } $1 ~ /^signatures\/[0-9]+\/sig$/ && $2 == sig' "$work/envelope")" ] ||
            fail "$signature is none of the envelope's signatures"
        key=${signature##*/}
        key=keys/${key%.sig}.pem
        [ -f "$key" ] || fail "$key is missing"
        signed "$key" "$1/pae" "$signature" || fail "$signature is not a signature by $key"
    done
    verified="$verified $1"
}

# holders POLICY ROLE DIRECTORY: the holders whose keys have this role, are not revoked, and signed what is in DIRECTORY.
holders() {
    for signature in "$3"/*.sig; do
        id=${signature##*/}
        awk -F '\t' -v role="roles/$2/keyids/" -v id="${id%.sig}" '
            index($1, role) == 1 && $2 == id { has_role = 1 }
            index($1, "revoked/keys/") == 1 && $2 == id { is_revoked = 1 }
            $1 == "keys/" id "/holder" { holder = $2 }
            END { if (has_role && !is_revoked && holder != "") print holder }' "$1"
    done | sort -u
}

# count LIST: how many different items it has, one on a line.
count() {
    printf '%d' "$(printf '%s\n' "$1" | sed '/^$/d' | sort -u | wc -l)"
}

# in_time POLICY ROLE HOLDER DIRECTORY TIME: whether a key of this holder that signed was valid at that time.
in_time() {
    for signature in "$4"/*.sig; do
        id=${signature##*/}
        id=${id%.sig}
        [ "$(value "$1" "keys/$id/holder")" = "$3" ] || continue
        in_order "$(seconds "$(value "$1" "keys/$id/notBefore")")" "$(seconds "$5")" \
            "$(seconds "$(value "$1" "keys/$id/notAfter")")" && return
    done
    return 1
}

# rooted POLICY VERSION: whether the root threshold of this policy signed that version.
rooted() {
    [ "$(count "$(holders "$1" root "policies/$2")")" -ge "$(value "$1" roles/root/threshold)" ]
}

# --- 1. The archive is whole.
number=0
[ -f MANIFEST ] || fail 'MANIFEST is missing'
sha256sum --check --strict --quiet MANIFEST >"$work/differs" 2>&1 || fail "MANIFEST: $(tr '\n' ' ' <"$work/differs")"
find . ! -type d ! -path ./MANIFEST | sort >"$work/here"
cut -c 67- MANIFEST | sed 's|^|./|' | sort | cmp -s - "$work/here" || fail 'MANIFEST does not name all files, and each once'
ok "all $(wc -l <MANIFEST) files are those of MANIFEST"
[ ! -f MISSING ] || fail "not all of the evidence is here: $(tr '\n' ';' <MISSING)"
flatten run.json >"$work/run"
run=$(value "$work/run" run_id)
application=$(value "$work/run" application)

# --- 2. The keys: the name of each is the digest of what it is, and trust policies name keys so.
for key in keys/*.pem; do
    id=${key#keys/}
    id=${id%.pem}
    public=$(raw "$key")
    pem "$public" | cmp -s - "$key" || fail "$key is no Ed25519 key"
    [ "$id" = witness ] ||
        [ "$(printf '{"keytype":"ed25519","keyval":{"public":"%s"},"scheme":"ed25519"}' "$public" | sha256sum | cut -c 1-64)" = "$id" ] ||
        fail "$key is the key of another id"
    number=$((number + 1))
done
ok "$number public keys"

# --- 3. The trust policies: each is signed by its own root and by the root of the one before.
version=0
while [ -d "policies/$((version + 1))" ]; do
    version=$((version + 1))
    envelope "policies/$version"
    [ "$type" = application/vnd.slipway.trust-policy+json ] || fail "policies/$version is a $type"
    policy=$work/policy.$version
    flatten "policies/$version/payload" >"$policy"
    [ "$(value "$policy" version)" = "$version" ] || fail "policies/$version is another version"
    rooted "$policy" "$version" || fail "policies/$version is not signed by enough holders of its own root"
    [ "$version" -eq 1 ] || rooted "$work/policy.$((version - 1))" "$version" ||
        fail "policies/$version is not signed by enough holders of the root before it"
    ok "trust policy $version, sha256 $(digest "policies/$version/payload")"
done
[ "$version" -ge 1 ] || fail 'policies/1 is missing'
[ -z "$first_policy" ] || [ "$(digest policies/1/payload)" = "$first_policy" ] ||
    fail "the first trust policy is not $first_policy"

# consents DIRECTORY RECORD POLICY MANIFEST KIND: each approval or authorization that the record names is here and counts.
consents() {
    number=0
    agreed=''
    total=$(places "$2" "$5" digest)
    while [ "$number" -lt "$total" ]; do
        named=$(value "$2" "$5/$number/digest")
        role=$(value "$2" "$5/$number/role")
        holder=$(value "$2" "$5/$number/holder")
        number=$((number + 1))
        place=$1/$5/$named
        [ -d "$place" ] || fail "$place, which the record names, is missing"
        envelope "$place"
        [ "$(digest "$place/payload")" = "$named" ] || fail "$place/payload is another than the record names"
        flatten "$place/payload" >"$work/consent"
        for pair in "subject/0/digest/sha256=$4" "predicate/application=$application" "predicate/role=$role" \
            "predicate/holder=$holder" "predicate/environment=$environment"; do
            [ "$(value "$work/consent" "${pair%%=*}")" = "${pair#*=}" ] || fail "$place does not say ${pair%%=*} ${pair#*=}"
        done
        if [ "$5" = approvals ]; then
            [ "$(value "$work/consent" predicateType)" = https://slipway.dev/approval/v1 ] || fail "$place is no approval"
            [ "$(value "$work/consent" predicate/decision)" = approve ] || fail "$place does not approve"
            [ "$holder" != "$builder" ] || fail "$place is given by the builder"
        else
            [ "$(value "$work/consent" predicateType)" = https://slipway.dev/rollback-authorization/v1 ] ||
                fail "$place is no rollback authorization"
            [ -n "$(awk -F '\t' -v id="$host" 'index($1, "predicate/hosts/") == 1 && $2 == id' "$work/consent")" ] ||
                fail "$place is not for the host $host"
        fi
        created=$(value "$work/consent" predicate/created)
        # Clocks may differ by 300 s, as hosts allow too.
        in_order $(($(seconds "$created") - 300)) "$began" $(($(seconds "$(value "$work/consent" predicate/expires)") + 300)) ||
            fail "$place was not in force at $when"
        has "$(holders "$3" "$role" "$place")" "$holder" || fail "$place is not signed by $holder as $role"
        in_time "$3" "$role" "$holder" "$place" "$created" || fail "$place is signed with a key that was not valid at $created"
        agreed="$agreed
$role $holder"
        ok "${5%s} by $holder as $role for $environment, sha256 $named"
    done
}

# required RECORD POLICY: the approvals that were counted are those that the policy asks for.
required() {
    number=0
    all=0
    environments=environments/$environment
    [ -n "$(value "$2" "$environments/maxApprovalAge")" ] || fail "the trust policy does not know $environment"
    total=$(places "$2" "$environments/require" role)
    while [ "$number" -lt "$total" ]; do
        role=$(value "$2" "$environments/require/$number/role")
        needed=$(value "$2" "$environments/require/$number/threshold")
        number=$((number + 1))
        all=$((all + needed))
        [ "$(count "$(printf '%s\n' "$agreed" | sed -n "s/^$role //p")")" -ge "$needed" ] ||
            fail "the trust policy asks for $needed approvals as $role in $environment"
    done
    [ "$(value "$2" "$environments/distinctHolders")" != true ] ||
        [ "$(count "$(printf '%s\n' "$agreed" | cut -d ' ' -f 2)")" -ge "$all" ] ||
        fail "the trust policy asks for $all different holders in $environment"
    ok "the trust policy asks for $all approvals in $environment: they are here"
}

# included RECORD HASHES: RFC 9162, 2.1.3.2: the record stands in the tree of the checkpoint.
included() {
    fn=$seq
    sn=$((size - 1))
    [ "$fn" -le "$sn" ] || fail "$1: record $seq is not among the $size of the checkpoint"
    r=$({
        printf '\000'
        cat "$1"
    } | sha256sum | cut -c 1-64)
    for p in $(cat "$2"); do
        [ "${#p}" -eq 64 ] && [ "$sn" -gt 0 ] || fail "$2 is no proof for record $seq of $size"
        if [ $((fn & 1)) -eq 1 ] || [ "$fn" -eq "$sn" ]; then
            r=$(bytes "01$p$r" | sha256sum | cut -c 1-64)
            while [ $((fn & 1)) -eq 0 ] && [ "$fn" -ne 0 ]; do
                fn=$((fn >> 1))
                sn=$((sn >> 1))
            done
        else
            r=$(bytes "01$r$p" | sha256sum | cut -c 1-64)
        fi
        fn=$((fn >> 1))
        sn=$((sn >> 1))
    done
    [ "$sn" -eq 0 ] && [ "$r" = "$root" ] || fail "$1 is not in the history that was signed: its proof leads to $r"
}

# line NAME KEY KIND SIZE: the signature of the checkpoint by this name: key id and signature, as long as that; and its text for $work/note.
line() {
    awk -v name="$1" '$1 == "\342\200\224" && $2 == name { print $3; exit }' "$note" | base64 -d >"$work/line" 2>/dev/null
    [ "$(wc -c <"$work/line")" -eq "$4" ] || fail "$note is not signed with $2"
    id=$({
        printf '%s\n' "$1"
        bytes "$3$(raw "$2")"
    } | sha256sum | cut -c 1-8)
    [ "$(hex <"$work/line" | cut -c 1-8)" = "$id" ] || fail "$note is signed with another key than $2"
    tail -c 64 "$work/line" >"$work/signature"
    printf '\342\200\224 %s %s\n' "$1" "$(base64 -w 0 "$work/line")" >>"$work/note"
}

# --- 4. Each host: its checkpoint is signed by itself and by the witness.
[ -f keys/witness.pem ] || fail 'keys/witness.pem is missing'
[ -z "$witness_key" ] || [ "$(raw keys/witness.pem)" = "$witness_key" ] || fail "keys/witness.pem is not $witness_key"
ok "witness key $(raw keys/witness.pem)"
records=0
for directory in hosts/*/; do
    directory=${directory%/}
    host=${directory#hosts/}
    note=$directory/checkpoint
    [ -f "$note" ] || fail "$note is missing"
    sed '/^$/,$d' "$note" >"$work/text"
    origin=$(sed -n 1p "$work/text")
    [ "$origin" = "slipway/$host/$application" ] || fail "$note is the checkpoint of $origin"
    size=$(sed -n 2p "$work/text")
    case $size in '' | *[!0-9]*) fail "$note has no size" ;; esac
    root=$(sed -n 3p "$work/text" | base64 -d 2>/dev/null | hex)
    {
        cat "$work/text"
        echo
    } >"$work/note"

    line "$origin" "$directory/history-key.pem" 01 68
    signed "$directory/history-key.pem" "$work/text" "$work/signature" ||
        fail "$note is not signed with $directory/history-key.pem"

    witness=$(awk '$1 == "\342\200\224" && $2 ~ /^slipway\/witness\// { print $2; exit }' "$note")
    line "$witness" keys/witness.pem 04 76
    seconds=$(od -An -v -tu1 -j 4 -N 8 "$work/line" | awk '{ for (i = 1; i <= NF; i++) time = time * 256 + $i } END { printf "%.0f", time }')
    {
        printf 'cosignature/v1\ntime %s\n' "$seconds"
        cat "$work/text"
    } >"$work/cosigned"
    signed keys/witness.pem "$work/cosigned" "$work/signature" || fail "$note is not cosigned with keys/witness.pem"
    cmp -s "$work/note" "$note" || fail "$note has more in it than its two signatures"
    ok "history of $host: $size records, signed with $(raw "$directory/history-key.pem"), witnessed"

    # --- 5. Each record: it is in that history, and what it names is here and was signed by who had to.
    for place in "$directory"/records/*/; do
        place=${place%/}
        [ -f "$place/record" ] && [ -f "$place/inclusion" ] || fail "$place is not whole"
        record=$work/record
        flatten "$place/record" >"$record"
        seq=$(value "$record" seq)
        [ "$seq" = "${place##*/}" ] || fail "$place is record $seq"
        included "$place/record" "$place/inclusion"
        for pair in "run_id=$run" "host_id=$host" "application=$application"; do
            [ "$(value "$record" "${pair%%=*}")" = "${pair#*=}" ] || fail "$place is of another ${pair%%=*} than ${pair#*=}"
        done
        status=$(value "$record" status)
        operation=$(value "$record" operation)
        when=$(value "$record" timestamp)
        took=$(value "$record" durations/total_seconds)
        began=$(($(seconds "$when") - ${took:-0}))
        environment=$(value "$record" environment)
        release=$(value "$record" release_id)
        manifest=$(value "$record" manifest_digest)
        ok "record $seq of $host at $when: $operation of $release in $environment, $status"

        version=$(value "$record" policy/version)
        policy=$work/policy.$version
        case $version in '' | *[!0-9]*) fail "$place names no trust policy" ;; esac
        [ -f "$policy" ] || fail "$place names a trust policy that is not here"
        [ "$(digest "policies/$version/payload")" = "$(value "$record" policy/digest)" ] ||
            fail "$place names another trust policy $version"

        directory_of_release=releases/$manifest
        [ -d "$directory_of_release/manifest" ] || fail "$directory_of_release/manifest, which the record names, is missing"
        envelope "$directory_of_release/manifest"
        [ "$(digest "$directory_of_release/manifest/payload")" = "$manifest" ] || fail "$directory_of_release is another manifest"
        flatten "$directory_of_release/manifest/payload" >"$work/manifest"
        [ "$(value "$work/manifest" predicateType)" = https://slipway.dev/release-manifest/v1 ] ||
            fail "$directory_of_release/manifest is no release manifest"
        for pair in "application=$application" "release_id=$release"; do
            [ "$(value "$work/manifest" "predicate/${pair%%=*}")" = "${pair#*=}" ] || fail "$directory_of_release is not of ${pair#*=}"
        done
        builder=$(value "$work/manifest" predicate/builder)
        has "$(holders "$policy" builder "$directory_of_release/manifest")" "$builder" ||
            fail "$directory_of_release/manifest is not signed by its builder $builder"
        in_time "$policy" builder "$builder" "$directory_of_release/manifest" "$(value "$work/manifest" predicate/created)" ||
            fail "$directory_of_release/manifest is signed with a key that was not valid then"
        ok "manifest of $release, built by $builder, sha256 $manifest"

        consents "$directory_of_release" "$record" "$policy" "$manifest" approvals
        [ "$operation $status" != 'deploy success' ] || required "$record" "$policy"
        consents "$directory_of_release" "$record" "$policy" "$manifest" authorizations

        # --- 6. The tests of the release, where they are here, are those that the manifest names.
        if [ -d "$directory_of_release/audit" ]; then
            audit=$directory_of_release/audit
            [ "$(digest "$audit/audit.json")" = "$(value "$work/manifest" predicate/audit/sha256)" ] || fail "$audit is another audit"
            flatten "$audit/audit.json" >"$work/audit"
            total=$(places "$work/audit" files path)
            number=0
            while [ "$number" -lt "$total" ]; do
                file=$(value "$work/audit" "files/$number/path")
                [ "$(digest "$audit/$file")" = "$(value "$work/audit" "files/$number/sha256")" ] || fail "$audit/$file is another file"
                number=$((number + 1))
            done
            [ "$(digest "$audit/validation.json")" = "$(value "$work/manifest" predicate/audit/validation_sha256)" ] ||
                fail "$audit/validation.json is another validation"
            ok "tests of $release: audit.json and $total files"
        fi
        records=$((records + 1))
    done
done
[ "$records" -eq "$(places "$work/run" records seq)" ] || fail "$records records here, $(places "$work/run" records seq) in run.json"
ok "all $records records of $run hold"
[ -n "$first_policy" ] && [ -n "$witness_key" ] ||
    printf 'Compare the sha256 of trust policy 1 and the witness key with those that you were given on another way.\n'
