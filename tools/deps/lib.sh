# Shared by ./run and ./test: phases with elapsed time, installing what is missing, building. Everything said goes to stderr.

started=$SECONDS
say() { printf '%s [%d s]\n' "$*" "$((SECONDS - started))" >&2; }

# phase LOG TITLE COMMAND...: output to LOG, a sign of life every 10 seconds; on failure the log's end and its name.
phase() {
  local log=$1 title=$2 pid begun=$SECONDS next=10 status=0
  shift 2
  mkdir -p "$(dirname "$log")"
  say "$title"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - begun >= next)); then
      printf '  … %s, %d s: %s\n' "$title" "$((SECONDS - begun))" "$(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1 | cut -c1-90)" >&2
      next=$((next + 10))
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if ((status != 0)); then
    grep -E -m 5 'error:|E: ' "$log" >&2 || tail -n 15 "$log" >&2
    say "$title failed; the whole log: $log"
  fi
  return "$status"
}

packages_in() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

# need_packages LIST...: installs the Debian packages of the lists that are missing; as root or by sudo, else names them and stops.
need_packages() {
  local missing=() name as_root=()
  command -v dpkg-query >/dev/null || { say "not a Debian system: please provide what $* name(s)"; return 0; }
  local have
  have=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii //p')
  while read -r name; do grep -qxF "$name" <<<"$have" || missing+=("$name"); done < <(packages_in "$@")
  ((${#missing[@]})) || return 0
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo)
    else
      printf 'missing packages; please install them and start again:\n  apt-get install %s\n' "${missing[*]}" >&2
      return 1
    fi
  fi
  phase build/apt.log "installing ${#missing[@]} packages" \
    "${as_root[@]}" sh -c "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${missing[*]}"
}

# build PRESET: configures once, then compiles what changed.
build() {
  local preset=$1
  mkdir -p build && exec 9>build/.lock && flock 9  # two builds in one folder would spoil each other
  local status=0
  [ -f "build/$preset/build.ninja" ] || phase "build/$preset-configure.log" "configuring ($preset)" cmake --preset "$preset" || status=$?
  ((status != 0)) || NINJA_STATUS='[%f/%t] ' phase "build/$preset-build.log" "building ($preset)" cmake --build --preset "$preset" || status=$?
  exec 9>&-
  return "$status"
}
