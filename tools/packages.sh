# shellcheck shell=bash
# The Debian packages that Qanat needs, and a function that installs those that are missing. Source it, then call
# `ensure_packages build` and, for the tests, `ensure_packages test`.
#
# What is there already is never touched: when nothing is missing, no network and no root are needed.

build_packages=(
    g++ g++-12 cmake ninja-build pkg-config
    liburing-dev        # the engine
    libsodium-dev       # handshake, key derivation, ChaCha20-Poly1305
    libevent-dev        # the control plane's loop
    libc-ares-dev       # names for exits
    libhiredis-dev      # discovery: the protocol of Redis
    libssl-dev          # discovery: TLS towards Redis
    libjsoncpp-dev      # configuration, status
    libcli11-dev        # the command line
    libspdlog-dev       # logs
    libexpected-dev     # Result<T, E>
)
# libipsec-mb exists on x86-64 only; elsewhere libsodium does the record cipher.
if [[ "$(uname -m)" == x86_64 ]]; then
    build_packages+=(libipsec-mb-dev)
fi

# shellcheck disable=SC2034  # ensure_packages reads it by name
test_packages=(
    libgtest-dev libgmock-dev
    libbenchmark-dev valgrind                           # perf/micro, perf/check-instructions
    clang-14 libclang-rt-14-dev                         # the second compiler, libFuzzer
    python3 python3-pytest
    python3-cryptography python3-dissononce             # the second implementation of the protocol, tests/peer
    redis-tools openssl                                 # a Redis (redis-check-rdb is the server) and a CA for the tests
    python3-socks dante-client curl wget git openssh-client netcat-openbsd iproute2 tcpdump  # programs through the proxy
    nftables ethtool iputils-ping procps                # networks of several hosts, tests/e2e/topology.py
)
# Where systemd runs, these packages would start servers on this machine; the tests that want them are skipped there
# unless they are installed.
if [[ ! -d /run/systemd/system ]]; then
    test_packages+=(openssh-server prometheus redis-server)
fi

# shellcheck disable=SC2034
quickstart_packages=(curl python3)

# missing_packages NAME...: prints those that are not installed.
missing_packages() {
    local name
    local -A installed=()
    while read -r name; do
        installed["${name}"]=1
    done < <(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' 2>/dev/null | sed -n 's/^installed \([^:]*\).*/\1/p')
    for name in "$@"; do
        [[ -n "${installed[${name}]:-}" ]] || echo "${name}"
    done
}

# ensure_packages build|test|quickstart: after it the packages are installed, or it has said why not and returned 1.
ensure_packages() {
    local -n wanted="$1_packages"
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "qanat: this system has no apt-get, and the tools install Debian 12 packages: install what tools/packages.sh lists in your own way, then run cmake --preset release && cmake --build --preset release" >&2
        return 1
    fi
    local -a missing
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    [[ ${#missing[@]} -gt 0 ]] || return 0

    local -a as_root=()
    if [[ ${EUID} -ne 0 ]]; then
        if ! command -v sudo >/dev/null; then
            echo "qanat: packages are missing and there is no sudo; as root, run: apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing with apt-get: ${missing[*]}" >&2
    local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    # A failed update is no reason to stop: the lists that are there may do.
    "${apt[@]}" update || echo "qanat: apt-get update failed; going on with the package lists that are there" >&2
    if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2; then
        local system
        system="$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release 2>/dev/null || true)"
        echo "qanat: apt-get could not install: ${missing[*]} (Qanat is made for Debian 12; this is ${system:-an unknown system})" >&2
        return 1
    fi
}
