#include "controlplane/resolver/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <list>
#include <map>
#include <utility>

#include "common/base/assert.h"
#include "common/base/log.h"
#include "controlplane/loop/fd_watch.h"
#include "controlplane/resolver/address_order.h"

namespace qanat::controlplane {
namespace {

using ring::ResolveStatus;

constexpr size_t kNamesPerGeneration = 64;

// The library is set up once per process and never torn down: it holds no state worth freeing at exit.
void initialize_library() {
    static const int result = ares_library_init(ARES_LIB_INIT_ALL);
    QANAT_ASSERT(result == ARES_SUCCESS);
}

// What may go to a name server. c-ares would take more; spaces, control bytes and escapes are no host names, and a NUL
// would cut the name in two.
bool is_host_name(std::string_view name) {
    if (name.empty() || name.size() > 253 + (name.ends_with('.') ? 1 : 0)) return false;
    size_t label = 0;
    for (size_t i = 0; i < name.size(); ++i) {
        const char c = name[i];
        if (c == '.') {
            if (label == 0) return false;
            label = 0;
            continue;
        }
        const bool good = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
        if (!good || ++label > 63) return false;
    }
    return true;
}

// How a question ended, ordered: of two questions about one name, the larger one speaks for both.
enum class Verdict : uint8_t { not_found, failed, timed_out, found };

Verdict verdict_of(int status) {
    switch (status) {
        case ARES_SUCCESS:
            return Verdict::found;
        case ARES_ENOTFOUND:
        case ARES_ENODATA:
        case ARES_EBADNAME:
        case ARES_ENONAME:
            return Verdict::not_found;
        case ARES_ETIMEOUT:
            return Verdict::timed_out;
        default:
            return Verdict::failed;
    }
}

ResolveStatus status_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::not_found:
            return ResolveStatus::not_found;
        case Verdict::failed:
            return ResolveStatus::failed;
        case Verdict::timed_out:
            return ResolveStatus::timed_out;
        case Verdict::found:
            return ResolveStatus::ok;
    }
    return ResolveStatus::failed;
}

struct FileStamp {
    int64_t seconds = 0;
    int64_t nanoseconds = 0;
    int64_t size = -1;
    uint64_t inode = 0;

    [[nodiscard]] static FileStamp of(const std::string& path) {
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0) return {};
        return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_size, status.st_ino};
    }
    friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

// One c-ares channel with its sockets and its timer on the loop.
class Channel {
public:
    Channel(EventLoop& loop, const Resolver::Settings& settings, const char* lookups)
        : loop_(loop), timer_(loop, [this] { process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }) {
        ares_options options{};
        options.timeout = static_cast<int>(settings.try_timeout.count());
        options.tries = settings.tries;
        options.sock_state_cb = [](void* self, ares_socket_t fd, int readable, int writable) {
            static_cast<Channel*>(self)->watch(fd, {readable != 0, writable != 0});
        };
        options.sock_state_cb_data = this;
        std::string lookup_order(lookups);
        options.lookups = lookup_order.data();
        std::string resolv_conf = settings.resolv_conf;
        options.resolvconf_path = resolv_conf.data();
        const int mask =
            ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF;
        if (ares_init_options(&channel_, &options, mask) != ARES_SUCCESS) channel_ = nullptr;
        if (channel_ != nullptr && !settings.servers.empty() &&
            ares_set_servers_ports_csv(channel_, settings.servers.c_str()) != ARES_SUCCESS) {
            ares_destroy(channel_);
            channel_ = nullptr;
        }
    }
    ~Channel() {
        if (channel_ != nullptr) ares_destroy(channel_);  // ends every question with ARES_EDESTRUCTION
    }
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    [[nodiscard]] bool usable() const { return channel_ != nullptr; }

    void ask(const std::string& name, int family, ares_addrinfo_callback callback, void* argument) {
        ares_addrinfo_hints hints{};
        hints.ai_family = family;
        hints.ai_socktype = SOCK_STREAM;
        // Sorting would open a socket per address; the order is ours (address_order.h).
        hints.ai_flags = ARES_AI_NOSORT;
        ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, callback, argument);
        arm();
    }

private:
    void watch(int fd, Readiness interest) {
        if (!interest.readable && !interest.writable) {
            // c-ares closes it after this; we may be inside the watch's own callback, which allows that.
            watches_.erase(fd);
            return;
        }
        if (const auto found = watches_.find(fd); found != watches_.end()) return found->second->set_interest(interest);
        watches_.emplace(fd, std::make_unique<FdWatch>(loop_, fd, interest, [this, fd](Readiness ready) {
                             process(ready.readable ? fd : ARES_SOCKET_BAD, ready.writable ? fd : ARES_SOCKET_BAD);
                         }));
    }
    void process(int readable, int writable) {
        ares_process_fd(channel_, readable, writable);
        arm();
    }
    void arm() {
        timeval wait{};
        if (ares_timeout(channel_, nullptr, &wait) == nullptr) return timer_.cancel();
        timer_.start(Duration(wait.tv_sec * 1000 + wait.tv_usec / 1000 + 1));
    }

    EventLoop& loop_;
    ares_channel channel_ = nullptr;
    std::map<int, std::unique_ptr<FdWatch>> watches_;
    Timer timer_;
};

std::vector<wire::IpAddress> addresses_in(const ares_addrinfo* result) {
    std::vector<wire::IpAddress> addresses;
    for (const ares_addrinfo_node* node = result == nullptr ? nullptr : result->nodes; node != nullptr;
         node = node->ai_next) {
        if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
        sockaddr_storage storage{};
        std::memcpy(&storage, node->ai_addr, std::min<size_t>(node->ai_addrlen, sizeof storage));
        if (const auto endpoint = wire::Endpoint::from_sockaddr(storage)) addresses.push_back(endpoint->ip);
    }
    return addresses;
}

// Names have no case, and a final dot only says that a name is complete; the hosts file is compared as it is written.
std::string plain_form(std::string_view name) {
    if (name.ends_with('.')) name.remove_suffix(1);
    std::string plain(name);
    for (char& c : plain)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return plain;
}

}  // namespace

class Resolver::Implementation {
public:
    Implementation(EventLoop& loop, Settings settings) : loop_(loop), settings_(std::move(settings)) {
        initialize_library();
        reconfigure();
    }
    ~Implementation() {
        closing_ = true;
        generations_.clear();
    }

    void resolve(std::string_view name, ResolveFamily family, Done done) {
        if (const auto literal = wire::IpAddress::parse(name)) return done({ResolveStatus::ok, {*literal}});
        if (!is_host_name(name)) return done({ResolveStatus::not_found, {}});
        if (in_flight_ >= settings_.queries_max) return done({ResolveStatus::overloaded, {}});
        reconfigure_if_due();
        Generation& generation = generations_.back();
        ++generation.names;
        if (!generation.files->usable() || !generation.servers->usable()) return done({ResolveStatus::failed, {}});

        const std::string text(name);
        // /etc/hosts first, as a whole: a name it knows by one family only is not asked of a server for the other,
        // just as the C library does it. The answer comes before ask() returns.
        FromHosts from_hosts;
        generation.files->ask(plain_form(text), family_number(family), &Implementation::on_hosts, &from_hosts);
        QANAT_ASSERT(from_hosts.answered);
        if (!from_hosts.addresses.empty()) return answer_with(from_hosts.addresses, done);

        auto query = std::make_unique<Query>(*this, generation, std::move(done));
        Query* raw = query.get();
        raw->at = queries_.insert(queries_.end(), std::move(query));
        ++in_flight_;
        ++generation.questions;  // held while we ask, in case the answers come at once
        raw->expected = (family != ResolveFamily::v4 ? 1 : 0) + (family != ResolveFamily::v6 ? 1 : 0);
        raw->open = raw->expected + 1;
        raw->timer.start(settings_.timeout);
        if (family != ResolveFamily::v4) ask_server(text, AF_INET6, *raw);
        if (family != ResolveFamily::v6) ask_server(text, AF_INET, *raw);
        release(*raw);
    }

    [[nodiscard]] size_t in_flight() const { return in_flight_; }

private:
    // The channels made from one state of the configuration files. An old generation lives on until its last question
    // is answered.
    struct Generation {
        std::unique_ptr<Channel> files;
        std::unique_ptr<Channel> servers;
        size_t questions = 0;
        size_t names = 0;
    };

    // One name. It stays until c-ares has called back for every question, also after it was answered by its timer.
    struct Query {
        Query(Implementation& owner_, Generation& generation_, Done done_)
            : owner(owner_),
              generation(generation_),
              done(std::move(done_)),
              timer(owner_.loop_, [this] { owner.on_timer(*this); }) {}

        Implementation& owner;
        Generation& generation;
        Done done;
        Timer timer;
        std::list<std::unique_ptr<Query>>::iterator at;
        int expected = 0;  // questions
        int answers = 0;
        int open = 0;  // callbacks that are still to come, and one for whoever is asking
        bool answered = false;
        Verdict verdict = Verdict::not_found;
        std::vector<wire::IpAddress> v4;
        std::vector<wire::IpAddress> v6;
    };
    struct FromHosts {
        bool answered = false;
        std::vector<wire::IpAddress> addresses;
    };

    static int family_number(ResolveFamily family) {
        switch (family) {
            case ResolveFamily::any:
                return AF_UNSPEC;
            case ResolveFamily::v4:
                return AF_INET;
            case ResolveFamily::v6:
                return AF_INET6;
        }
        return AF_UNSPEC;
    }

    static void on_hosts(void* argument, int status, int, ares_addrinfo* result) {
        auto& from_hosts = *static_cast<FromHosts*>(argument);
        from_hosts.answered = true;
        if (status == ARES_SUCCESS) from_hosts.addresses = addresses_in(result);
        ares_freeaddrinfo(result);
    }

    static void answer_with(const std::vector<wire::IpAddress>& addresses, const Done& done) {
        std::vector<wire::IpAddress> v4;
        std::vector<wire::IpAddress> v6;
        for (const wire::IpAddress& address : addresses) (address.is_v4() ? v4 : v6).push_back(address);
        done({ResolveStatus::ok, interleave_families(v6, v4, ring::kResolvedMax)});
    }

    void ask_server(const std::string& name, int family, Query& query) {
        ++query.generation.questions;
        query.generation.servers->ask(name, family, &Implementation::on_server, &query);
    }

    static void on_server(void* argument, int status, int, ares_addrinfo* result) {
        auto& query = *static_cast<Query*>(argument);
        if (query.owner.closing_) return ares_freeaddrinfo(result);
        query.owner.on_answer(query, status, addresses_in(result));
        ares_freeaddrinfo(result);
        query.owner.release(query);
    }

    void on_answer(Query& query, int status, const std::vector<wire::IpAddress>& addresses) {
        ++query.answers;
        if (query.answered) return;
        for (const wire::IpAddress& address : addresses) (address.is_v4() ? query.v4 : query.v6).push_back(address);
        Verdict verdict = verdict_of(status);
        if (verdict == Verdict::found && addresses.empty()) verdict = Verdict::not_found;
        query.verdict = std::max(query.verdict, verdict);
        if (query.answers == query.expected)
            answer(query);
        else if (query.verdict == Verdict::found)
            query.timer.start(kOtherFamilyTime);
    }

    void on_timer(Query& query) {
        if (query.answered) return;
        if (query.verdict != Verdict::found) query.verdict = Verdict::timed_out;
        answer(query);
    }

    void answer(Query& query) {
        query.answered = true;
        query.timer.cancel();
        Resolution resolution;
        resolution.status = status_of(query.verdict);
        if (query.verdict == Verdict::found)
            resolution.addresses = interleave_families(query.v6, query.v4, ring::kResolvedMax);
        const Done done = std::move(query.done);
        done(resolution);
    }

    void release(Query& query) {
        Generation& generation = query.generation;
        --generation.questions;
        if (--query.open == 0) {
            --in_flight_;
            queries_.erase(query.at);
        }
        // Not from here: we may be inside a callback of its channel.
        if (generation.questions == 0 && &generation != &generations_.back()) {
            loop_.defer([this, alive = alive_] {
                if (*alive) drop_old_generations();
            });
        }
    }

    void drop_old_generations() {
        const Generation* current = &generations_.back();
        generations_.remove_if([current](const Generation& g) { return &g != current && g.questions == 0; });
    }

    void reconfigure() {
        checked_at_ = EventLoop::now();
        resolv_conf_ = FileStamp::of(settings_.resolv_conf);
        hosts_ = FileStamp::of(settings_.hosts);
        generations_.push_back(
            {std::make_unique<Channel>(loop_, settings_, "f"), std::make_unique<Channel>(loop_, settings_, "b"), 0, 0});
        if (!generations_.back().servers->usable())
            log_warn("cannot set up the resolver", {{"file", settings_.resolv_conf}});
        drop_old_generations();
    }

    void reconfigure_if_due() {
        // This c-ares keeps one UDP port per server for the life of a channel; a forger who found the port would have
        // to guess 16 bits only. New channels take new ports.
        if (generations_.back().names >= kNamesPerGeneration) return reconfigure();
        const Instant now = EventLoop::now();
        if (now - checked_at_ < std::chrono::seconds(1)) return;
        checked_at_ = now;
        const bool usable = generations_.back().servers->usable();
        if (usable && resolv_conf_ == FileStamp::of(settings_.resolv_conf) && hosts_ == FileStamp::of(settings_.hosts))
            return;
        log_debug("the resolver configuration changed", {{"file", settings_.resolv_conf}});
        reconfigure();
    }

    EventLoop& loop_;
    Settings settings_;
    std::list<Generation> generations_;  // the last one is current
    std::list<std::unique_ptr<Query>> queries_;
    size_t in_flight_ = 0;
    bool closing_ = false;
    Instant checked_at_{};
    FileStamp resolv_conf_;
    FileStamp hosts_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    friend class Resolver;
};

Resolver::Resolver(EventLoop& loop, Settings settings)
    : implementation_(std::make_unique<Implementation>(loop, std::move(settings))) {}

Resolver::~Resolver() {
    *implementation_->alive_ = false;
}

void Resolver::resolve(std::string_view name, ResolveFamily family, Done done) {
    implementation_->resolve(name, family, std::move(done));
}

size_t Resolver::in_flight() const {
    return implementation_->in_flight();
}

}  // namespace qanat::controlplane
