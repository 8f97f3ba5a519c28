#include "common/crypto/hkdf.h"

#include <gtest/gtest.h>

#include "tests/vectors/vector_file.h"

namespace qanat::crypto {
namespace {

using test::from_hex;

std::vector<uint8_t> to_vector(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> range(unsigned first, unsigned last) {
    std::vector<uint8_t> bytes;
    for (unsigned i = first; i <= last; ++i) bytes.push_back(static_cast<uint8_t>(i));
    return bytes;
}

TEST(Hkdf, Rfc5869) {
    const struct {
        std::vector<uint8_t> ikm, salt, info;
        const char* prk;
        const char* okm;
    } cases[] = {
        {std::vector<uint8_t>(22, 0x0b), range(0x00, 0x0c), range(0xf0, 0xf9),
         "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {range(0x00, 0x4f), range(0x60, 0xaf), range(0xb0, 0xff),
         "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
         "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {std::vector<uint8_t>(22, 0x0b),
         {},
         {},
         "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
    };
    for (const auto& c : cases) {
        const Secret<32> prk = extract(c.salt, c.ikm);
        EXPECT_EQ(to_vector(prk.bytes()), from_hex(c.prk));
        std::vector<uint8_t> okm(from_hex(c.okm).size());
        expand(prk.bytes(), c.info, okm);
        EXPECT_EQ(okm, from_hex(c.okm));
    }
}

TEST(Hkdf, ShorterOutputsAreBeginningsOfLongerOnes) {
    std::vector<uint8_t> longest(kHkdfOutputSizeMax);
    expand(as_bytes("secret"), as_bytes("info"), longest);
    for (const size_t size : {size_t{0}, size_t{1}, size_t{31}, size_t{32}, size_t{33}, size_t{64}, size_t{65}}) {
        std::vector<uint8_t> out(size);
        expand(as_bytes("secret"), as_bytes("info"), out);
        EXPECT_TRUE(std::equal(out.begin(), out.end(), longest.begin())) << size;
    }
}

// RFC 8448, section 3: traffic keys of the simple 1-RTT handshake.
TEST(ExpandLabel, Rfc8448) {
    const struct {
        const char* secret;
        const char* key;
        const char* iv;
    } cases[] = {
        {"b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38", "3fce516009c21727d0f2e4e86ee403bc",
         "5d313eb2671276ee13000b30"},
        {"9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", "17422dda596ed5d9acd890e3c63f5051",
         "5b78923dee08579033e523d9"},
        {"a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", "9f02283b6c9c07efc26bb9f2ac92e356",
         "cf782b88dd83549aadf1e984"},
    };
    for (const auto& c : cases) {
        std::vector<uint8_t> key(16), iv(12);
        expand_label(from_hex(c.secret), "key", {}, key, "tls13 ");
        expand_label(from_hex(c.secret), "iv", {}, iv, "tls13 ");
        EXPECT_EQ(key, from_hex(c.key));
        EXPECT_EQ(iv, from_hex(c.iv));
    }
}

TEST(ExpandLabel, KnownAnswerWithOurPrefix) {
    for (const auto& c : test::read_vectors("key_schedule.txt")) {
        if (c.text("case") != "label") continue;
        std::vector<uint8_t> out(100);
        expand_label(c.bytes("secret"), "data", c.bytes("context"), out);
        EXPECT_EQ(out, c.bytes("out"));
        std::vector<uint8_t> size_counts(32);
        expand_label(c.bytes("secret"), "data", c.bytes("context"), size_counts);
        EXPECT_NE(size_counts, from_hex(c.text("out").substr(0, 64)));
        EXPECT_EQ(to_vector(expand_label_secret(c.bytes("secret"), "data", c.bytes("context")).bytes()), size_counts);
        return;
    }
    FAIL() << "no label case";
}

TEST(ExpandLabel, LargestLabelAndContext) {
    const std::string label(255 - kLabelPrefix.size(), 'l');
    const std::vector<uint8_t> context(255, 1);
    std::vector<uint8_t> out(32), info;
    expand_label(as_bytes("secret"), label, context, out);

    info = {0, 32, 255};
    info.insert(info.end(), kLabelPrefix.begin(), kLabelPrefix.end());
    info.insert(info.end(), label.begin(), label.end());
    info.push_back(255);
    info.insert(info.end(), context.begin(), context.end());
    std::vector<uint8_t> expected(32);
    expand(as_bytes("secret"), info, expected);
    EXPECT_EQ(out, expected);
}

}  // namespace
}  // namespace qanat::crypto
