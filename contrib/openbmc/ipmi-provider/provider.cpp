// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// A provider of OpenBMC's ipmid that hands what hosts ask of inbandd over to it, and inbandd's answers back (docs/spec/ipmi.md, 8). It keeps nothing: whoever
// restarts, ipmid or inbandd, the next request finds the other.

#include <ipmid/api.hpp>
#include <ipmid/iana.hpp>
#include <user_channel/channel_layer.hpp>

#include <boost/system/error_code.hpp>

#include <cstdint>
#include <vector>

namespace
{

using Bytes = std::vector<std::uint8_t>;

constexpr ipmi::Cmd command = INBAND_COMMAND;

constexpr auto service = "xyz.openbmc_project.Inband";
constexpr auto path = "/xyz/openbmc_project/inband";
constexpr auto interface = "xyz.openbmc_project.Inband.Ipmi";
constexpr auto method = "Execute";

constexpr auto systemInterface =
    static_cast<std::uint8_t>(ipmi::EChannelMediumType::systemInterface);

// `data` is what is behind the organisation's number, which ipmid has looked
// at, as it has at the privilege. It puts that number before the answer too.
ipmi::RspType<Bytes> forward(ipmi::Context::ptr ctx, Bytes data)
{
    const auto number = static_cast<std::uint8_t>(ctx->channel);
    ipmi::ChannelInfo channel{};
    if (ipmi::getChannelInfo(number, channel) != ipmi::ccSuccess ||
        channel.mediumType != systemInterface)
    {
        return ipmi::responseInsufficientPrivilege();
    }

    // Other requests are served while this one waits. inbandd answers within
    // three seconds, or says that it cannot.
    boost::system::error_code error;
    const auto [code, answer] = ctx->bus->yield_method_call<ipmi::Cc, Bytes>(
        ctx->yield, error, service, path, interface, method, number,
        channel.mediumType, static_cast<std::uint8_t>(ctx->priv), ctx->cmd,
        data);
    if (error)
    {
        return ipmi::responseDestinationUnavailable();
    }
    if (code != ipmi::ccSuccess)
    {
        return ipmi::response(code);
    }
    return ipmi::responseSuccess(answer);
}

// ipmid loads its providers and looks for nothing in them.
[[gnu::constructor]] void registerProvider()
{
    ipmi::registerOemHandler(ipmi::prioOemBase, oem::obmcOemNumber, command,
                             ipmi::Privilege::Admin, forward);
}

} // namespace
