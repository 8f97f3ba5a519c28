#include "controlplane/cli/local_commands.h"

#include "common/base/bytes.h"
#include "common/crypto/random.h"
#include "common/handshake/node_id.h"
#include "controlplane/config/identity_file.h"
#include "controlplane/config/network_key.h"

namespace qanat::controlplane {
namespace {

// A full disk or a closed pipe behind standard output must not look like success.
Result<void> finish(std::ostream& out) {
    out.flush();
    if (!out) return fail("standard output cannot be written: check where it leads");
    return {};
}

}  // namespace

Result<void> run_keygen(const KeygenCommand& command, const Environment& environment, std::ostream& out) {
    NetworkKey key;
    crypto::random_bytes(key.writable());
    if (command.out == "-") {
        const auto text = format_network_key(key);
        out << as_text(text.bytes());
        return finish(out);
    }
    const std::string path = command.out.empty() ? environment.working_directory + "/network.key" : command.out;
    if (auto written = write_network_key(path, key); !written) return written;
    out << "wrote " << path << "\nfingerprint " << network_key_fingerprint(key) << "\n";
    return finish(out);
}

Result<void> run_id(const IdCommand& command, const Environment& environment, std::ostream& out) {
    const auto path = find_identity(command.identity, Role::node, environment);
    if (!path) return tl::unexpected(path.error());
    const auto identity = load_or_create_identity(*path);
    if (!identity) return tl::unexpected(identity.error());
    out << encode_node_id(identity->public_key) << "\n";
    return finish(out);
}

Result<void> run_version(std::ostream& out) {
    out << "qanat " << QANAT_VERSION << "\n";
    return finish(out);
}

}  // namespace qanat::controlplane
