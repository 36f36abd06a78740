/* The pod's interfaces, by rtnetlink: a shell with ip(8) would take a second here. Layouts are linux/rtnetlink.h's. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RTM_NEWLINK 16
#define RTM_NEWADDR 20
#define RTM_NEWROUTE 24
#define NLM_F_REQUEST 1
#define NLM_F_ACK 4
#define NLM_F_REPLACE 0x100
#define NLM_F_CREATE 0x400
#define NLMSG_ERROR 2
#define IFA_F_NODAD 2
#define INTERFACES 8

enum { IFLA_ADDRESS = 1, IFLA_IFNAME = 3, IFLA_MTU = 4 };
enum { IFA_ADDRESS = 1, IFA_LOCAL = 2 };
enum { RTA_DST = 1, RTA_OIF = 4, RTA_GATEWAY = 5 };

struct link_part {
    uint8_t family, padding;
    uint16_t type;
    int32_t index;
    uint32_t flags, change;
};
struct address_part {
    uint8_t family, prefix, flags, scope;
    uint32_t index;
};
struct route_part {
    uint8_t family, destination_length, source_length, tos, table, protocol, scope, type;
    uint32_t flags;
};
struct message {
    uint8_t bytes[512];
    size_t length;
};

static struct message begin(uint16_t type, uint16_t flags, const void *part, size_t size) {
    struct message message = {.length = 16 + size};
    write_u16(message.bytes + 4, type);
    write_u16(message.bytes + 6, NLM_F_REQUEST | NLM_F_ACK | flags);
    memcpy(message.bytes + 16, part, size);
    return message;
}

static void add(struct message *message, uint16_t type, const void *value, size_t size) {
    uint8_t *at = message->bytes + message->length;
    write_u16(at, (uint16_t)(4 + size));
    write_u16(at + 2, type);
    memcpy(at + 4, value, size);
    message->length += (4 + size + 3) & ~(size_t)3;
}

static bool ask(int netlink, struct message *message) {
    uint8_t answer[1024];
    write_u32(message->bytes, (uint32_t)message->length);
    if (send(netlink, message->bytes, message->length, 0) < 0)
        return false;
    ssize_t got = recv(netlink, answer, sizeof answer, 0);
    int32_t number = -EPROTO;
    uint16_t type = 0;
    if (got >= 20) {
        memcpy(&type, answer + 4, sizeof type);
        memcpy(&number, answer + 16, sizeof number);
    }
    errno = type == NLMSG_ERROR ? -number : EPROTO;
    return errno == 0;
}

/* ADDRESS/PREFIX, of either family. */
struct prefix {
    uint8_t family, bits, bytes[16];
    size_t size;
};

static bool parse_prefix(const char *text, struct prefix *prefix) {
    char address[64];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    errno = EINVAL;
    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = 0;
    prefix->family = strchr(address, ':') ? AF_INET6 : AF_INET;
    prefix->size = prefix->family == AF_INET6 ? 16 : 4;
    int bits = slash ? atoi(slash + 1) : (int)prefix->size * 8;
    prefix->bits = (uint8_t)bits;
    return bits >= 0 && bits <= (int)prefix->size * 8 && inet_pton(prefix->family, address, prefix->bytes) == 1;
}

static bool set_link(int netlink, int index, bool up, const uint8_t *mac, uint32_t mtu, const char *name) {
    struct link_part part = {.index = index, .flags = up ? IFF_UP : 0, .change = IFF_UP};
    struct message message = begin(RTM_NEWLINK, 0, &part, sizeof part);
    if (mac)
        add(&message, IFLA_ADDRESS, mac, 6);
    if (mtu)
        add(&message, IFLA_MTU, &mtu, sizeof mtu);
    if (name)
        add(&message, IFLA_IFNAME, name, strlen(name) + 1);
    return ask(netlink, &message);
}

static bool add_address(int netlink, int index, const char *text) {
    struct prefix prefix;
    if (!parse_prefix(text, &prefix))
        return false;
    /* The host made sure that the address is ours alone; the guest would only wait to find out again. */
    struct address_part part = {
        .family = prefix.family, .prefix = prefix.bits, .flags = IFA_F_NODAD, .index = (uint32_t)index};
    struct message message = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &part, sizeof part);
    add(&message, IFA_LOCAL, prefix.bytes, prefix.size);
    add(&message, IFA_ADDRESS, prefix.bytes, prefix.size);
    return ask(netlink, &message);
}

static bool add_route(int netlink, int index, const char *destination, const char *gateway) {
    enum { TABLE_MAIN = 254, PROTOCOL_BOOT = 3, SCOPE_UNIVERSE = 0, SCOPE_LINK = 253, TYPE_UNICAST = 1 };
    struct prefix to, by;
    if (!parse_prefix(destination, &to) || (*gateway && !parse_prefix(gateway, &by)))
        return false;
    struct route_part part = {.family = to.family,
                              .destination_length = to.bits,
                              .table = TABLE_MAIN,
                              .protocol = PROTOCOL_BOOT,
                              .scope = *gateway ? SCOPE_UNIVERSE : SCOPE_LINK,
                              .type = TYPE_UNICAST};
    struct message message = begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &part, sizeof part);
    if (to.bits)
        add(&message, RTA_DST, to.bytes, to.size);
    if (*gateway)
        add(&message, RTA_GATEWAY, by.bytes, by.size);
    add(&message, RTA_OIF, &index, sizeof index);
    return ask(netlink, &message);
}

/* The n-th interface that is not the loopback, in the kernel's order. */
static int nth_interface(uint32_t n) {
    struct if_nameindex *all = if_nameindex();
    int found = 0;
    for (struct if_nameindex *one = all; one && one->if_index && !found; one++)
        if (strcmp(one->if_name, "lo") && strncmp(one->if_name, "sit", 3) && n-- == 0)
            found = (int)one->if_index;
    if_freenameindex(all);
    return found;
}

static bool configure(int netlink, uint32_t number, struct reader *request, struct failure *failure) {
    const char *name = read_text(request);
    uint32_t length, address_count;
    const uint8_t *mac = read_bytes(request, &length);
    uint32_t mtu = read_u32(request);
    const char **addresses = read_texts(request, &address_count);
    if (request->bad || (length != 0 && length != 6) || strlen(name) >= IF_NAMESIZE) {
        request->bad = true;
        free(addresses);
        return true;
    }
    int index = nth_interface(number);
    errno = ENODEV;
    bool done = index > 0 && set_link(netlink, index, false, length ? mac : NULL, mtu, name) &&
                set_link(netlink, index, true, NULL, 0, NULL);
    if (!done)
        failed(failure, "set up interface %s", name);
    for (uint32_t i = 0; done && i < address_count; i++)
        if (!add_address(netlink, index, addresses[i]))
            done = failed(failure, "add address %.64s to %s", addresses[i], name);
    free(addresses);
    for (uint32_t left = read_count(request, 10); done && left > 0 && !request->bad; left--) {
        const char *destination = read_text(request);
        const char *gateway = read_text(request);
        if (!request->bad && !add_route(netlink, index, destination, gateway) && errno != EEXIST)
            done = failed(failure, "add route to %.64s by %.64s", destination, gateway);
    }
    return done;
}

bool configure_network(struct reader *request, struct failure *failure) {
    uint32_t count = read_count(request, 18);
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (netlink < 0)
        return failed(failure, "netlink");
    bool done = set_link(netlink, (int)if_nametoindex("lo"), true, NULL, 0, NULL) || failed(failure, "bring lo up");
    for (uint32_t number = 0; done && number < count && number < INTERFACES && !request->bad; number++)
        done = configure(netlink, number, request, failure);
    close(netlink);
    return done;
}

/* Down, and without an address: routes went with the former. 0.0.0.0 is the kernel's word for "remove it". */
static bool leave(int netlink, int index) {
    struct ifreq request = {.ifr_addr = {.sa_family = AF_INET}};
    int internet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = internet >= 0 && if_indextoname((unsigned)index, request.ifr_name) &&
                (ioctl(internet, SIOCSIFADDR, &request) == 0 || errno == EADDRNOTAVAIL) &&
                set_link(netlink, index, false, NULL, 0, NULL);
    if (internet >= 0)
        close(internet);
    return done;
}

bool leave_network(struct failure *failure) {
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (netlink < 0)
        return failed(failure, "netlink");
    bool done = true;
    for (uint32_t number = 0; done && number < INTERFACES; number++) {
        int index = nth_interface(number);
        if (index <= 0)
            break;
        done = leave(netlink, index) || failed(failure, "leave the network");
    }
    close(netlink);
    return done;
}
