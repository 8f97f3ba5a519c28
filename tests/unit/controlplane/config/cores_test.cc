#include "controlplane/config/cores.h"

#include <gtest/gtest.h>

namespace qanat::controlplane {
namespace {

TEST(Cores, ParsesAndFormats) {
    struct Case {
        const char* text;
        std::vector<uint32_t> list;
        const char* formatted;
    };
    const Case cases[] = {
        {"auto", {}, "auto"},        {"0", {0}, "0"},   {"0,2-3", {0, 2, 3}, "0,2-3"},
        {"3,1,2", {1, 2, 3}, "1-3"}, {"2-2", {2}, "2"}, {"0-1,4,6-7", {0, 1, 4, 6, 7}, "0-1,4,6-7"},
        {"1023", {1023}, "1023"},    {"007", {7}, "7"},
    };
    for (const Case& c : cases) {
        const auto cores = parse_cores(c.text);
        ASSERT_TRUE(cores) << c.text << ": " << cores.error().message;
        EXPECT_EQ(cores->list, c.list) << c.text;
        EXPECT_EQ(format_cores(*cores), c.formatted);
        EXPECT_EQ(parse_cores(format_cores(*cores)).value(), *cores);
    }
    EXPECT_EQ(parse_cores("0-1023")->list.size(), 1024U);
}

TEST(Cores, RefusesTheRest) {
    struct Case {
        const char* text;
        const char* message;
    };
    const Case cases[] = {
        {"", "\"\" is not a list of cores: write \"auto\" or a list like \"0,2-3\""},
        {"a", "\"a\" is not a list of cores: write \"auto\" or a list like \"0,2-3\""},
        {"0,", "\"0,\" is not a list of cores: write \"auto\" or a list like \"0,2-3\""},
        {"0,x\n", "\"0,x\\n\" is not a list of cores: write \"auto\" or a list like \"0,2-3\""},
        {"3-2", "the range \"3-2\" runs backwards: write \"auto\" or a list like \"0,2-3\""},
        {"1024", "core 1024 is out of range: cores are numbered from 0 to 1023"},
        {"0-4294967295", "core 4294967295 is out of range: cores are numbered from 0 to 1023"},
        {"1,1", "core 1 is given twice: name each core once"},
        {"0-3,2", "core 2 is given twice: name each core once"},
        {"0-1023,0-1023,0-1023", "core 0 is given twice: name each core once"},
    };
    for (const Case& c : cases) {
        const auto cores = parse_cores(c.text);
        ASSERT_FALSE(cores) << c.text;
        EXPECT_EQ(cores.error().message, c.message);
    }
    for (const char* text :
         {"-", "-1", "1-", "1--2", "1-2-3", " 0", "0 ", "0, 1", "+1", "AUTO", "auto,1", "4294967296", "0x1"})
        EXPECT_FALSE(parse_cores(text)) << text;
    EXPECT_EQ(make_cores({}).error().message, "no core is given: write \"auto\" or a list like \"0,2-3\"");
}

}  // namespace
}  // namespace qanat::controlplane
