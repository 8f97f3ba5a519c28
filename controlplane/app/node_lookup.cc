#include "controlplane/app/node_lookup.h"

#include <string>
#include <utility>
#include <vector>

namespace qanat::controlplane {
namespace {

ResolveFamily to_resolve_family(NameFamily family) {
    switch (family) {
        case NameFamily::any:
            return ResolveFamily::any;
        case NameFamily::v4:
            return ResolveFamily::v4;
        case NameFamily::v6:
            return ResolveFamily::v6;
    }
    return ResolveFamily::any;
}

std::string explain(const std::string& name, ring::ResolveStatus status) {
    switch (status) {
        case ring::ResolveStatus::not_found:
            return "the name " + name + " does not exist";
        case ring::ResolveStatus::timed_out:
            return "no name server answered for " + name;
        default:
            return "the name " + name + " could not be resolved";
    }
}

}  // namespace

NodeLookup make_node_lookup(Resolver& resolver) {
    return [&resolver](const std::string& name, NameFamily family,
                       std::function<void(Result<std::vector<wire::IpAddress>>)> done) {
        resolver.resolve(name, to_resolve_family(family), [name, done = std::move(done)](const Resolution& found) {
            if (found.status == ring::ResolveStatus::ok)
                done(found.addresses);
            else
                done(fail(explain(name, found.status)));
        });
    };
}

}  // namespace qanat::controlplane
