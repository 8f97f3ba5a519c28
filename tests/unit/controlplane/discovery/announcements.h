// Announcements for tests.
#pragma once

#include <algorithm>
#include <string>

#include "controlplane/discovery/announcement.h"

namespace qanat::controlplane {

inline PublicKey node_key(uint32_t number) {
    PublicKey key{};
    for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>((number >> (8 * (i % 4))) + i * 7 + 0x31);
    return key;
}

inline NodeAddress address_of(const char* text) {
    return {*wire::Target::parse(text), NameFamily::any};
}

inline Announcement announcement_of(uint32_t number) {
    Announcement announcement;
    announcement.id = node_key(number);
    announcement.sequence = 1'700'000'000'000;
    announcement.valid_for_s = 60;
    announcement.exit = true;
    announcement.load = 1234;
    announcement.streams = 56;
    announcement.version = "0.1.0";
    announcement.region = "eu-central-1";
    announcement.addresses = {address_of("198.51.100.7:4000"), address_of("[2001:db8::7]:4000")};
    return announcement;
}

inline Secret<32> discovery_key(uint8_t number = 1) {
    Secret<32> key;
    std::ranges::fill(key.writable(), number);
    return key;
}

}  // namespace qanat::controlplane
