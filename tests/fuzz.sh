#!/usr/bin/env bash
# Runs the fuzz targets, each for some time, with the address sanitizer. Needs a nightly compiler (rustup toolchain install nightly).
#
#   tests/fuzz.sh                      all of them, a minute each
#   tests/fuzz.sh -s 600 protobuf      one of them for ten minutes
#   tests/fuzz.sh --list
#
# What was found to be interesting stays in CORPUS (default: the cache folder) and is where the next run starts. An input that fails is
# written to `crash-…` in the folder of its target there, what was said to TARGET.log; run it again with: tests/fuzz.sh protobuf -- FILE
set -euo pipefail
cd "$(dirname "$0")/.."

workspaces=(proto/fuzz cloudcore/controlplane/fuzz)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/skerry
target_dir=${SKERRY_FUZZ_TARGET_DIR:-$cache/fuzz/target}
corpus=${CORPUS:-$cache/fuzz/corpus}
seconds=60
wanted=()

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
targets() { for place in "${workspaces[@]}"; do for file in "$place"/fuzz_targets/*.rs; do echo "$place $(basename "$file" .rs)"; done; done; }

while (($#)); do
  case $1 in
    -h | --help) usage; exit ;;
    --list) targets | cut -d' ' -f2; exit ;;
    -s | --seconds) seconds=${2:?"-s needs a number of seconds"}; shift 2 ;;
    --) shift; break ;;
    -*) echo "tests/fuzz.sh: unknown option $1" >&2; usage >&2; exit 64 ;;
    *) wanted+=("$1"); shift ;;
  esac
done
for name in "${wanted[@]}"; do
  targets | cut -d' ' -f2 | grep -qx "$name" || { echo "tests/fuzz.sh: there is no target $name; --list names them" >&2; exit 64; }
done

# What cargo-fuzz sets, so that it need not be installed.
triple=$(rustc +nightly -vV | sed -n 's/^host: //p') || { echo "tests/fuzz.sh: rustup toolchain install nightly" >&2; exit 1; }
passes=(level=4 inline-8bit-counters pc-table trace-compares stack-depth)
export RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module --cfg fuzzing ${passes[*]/#/-Cllvm-args=-sanitizer-coverage-}"
export CARGO_TARGET_DIR=$target_dir
# SQLite's globals are seen twice, by the way Rust links C; there is one of each.
export ASAN_OPTIONS=detect_odr_violation=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

failed=()
while read -r place name; do
  [[ ${#wanted[@]} == 0 || " ${wanted[*]} " == *" $name "* ]] || continue
  echo "== $name: building"
  cargo +nightly build --quiet --release --locked --target "$triple" --manifest-path "$place/Cargo.toml" --bin "$name"
  program=$target_dir/$triple/release/$name
  mkdir -p "$corpus/$name"
  seeds=()
  [[ ! -d $place/seeds/$name ]] || seeds=("$place/seeds/$name")
  if (($#)); then
    "$program" "$@" </dev/null || failed+=("$name")
    continue
  fi
  echo "== $name: $seconds s"
  # Deep nesting and long texts are among what is tried; memory is bounded as the programs bound it.
  "$program" "$corpus/$name" "${seeds[@]}" -artifact_prefix="$corpus/$name/" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 \
    -timeout=10 -print_final_stats=1 </dev/null >"$corpus/$name.log" 2>&1 || failed+=("$name")
  grep -E 'stat::(number_of|average|peak)|ERROR|SUMMARY|panicked|Test unit|DONE' "$corpus/$name.log" || true
done < <(targets)
((${#failed[@]} == 0)) || { echo "failed: ${failed[*]}; the inputs are in $corpus" >&2; exit 1; }
echo "no target failed"
