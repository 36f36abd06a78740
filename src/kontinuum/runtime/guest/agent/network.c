/* The pod's interfaces: what a card is by ioctl, which takes the kernel the fewest steps, addresses and routes by
 * rtnetlink. Layouts are linux/rtnetlink.h's.
 *
 * A machine that is born of a template does all of this for the first time, and what runs for the first time is dear
 * there: cards are found, and up, before the template is saved, and only what differs is set.
 */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RTM_NEWADDR 20
#define RTM_NEWROUTE 24
#define NLM_F_REQUEST 1
#define NLM_F_REPLACE 0x100
#define NLM_F_CREATE 0x400
#define NLMSG_ERROR 2
#define IFA_F_NODAD 2
#define IFA_F_NOPREFIXROUTE 0x200
#define INTERFACES 8

static struct card {
    int index;
    uint32_t mtu;
    char name[IF_NAMESIZE];
    bool speaks_six; /* has an address of its link, of IPv6 */
    bool is_somebodys;
} cards[INTERFACES];
static uint32_t card_count;
static int netlink = -1, internet = -1;

enum { IFA_ADDRESS = 1, IFA_LOCAL = 2, IFA_FLAGS = 8 };
enum { RTA_DST = 1, RTA_OIF = 4, RTA_GATEWAY = 5 };

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
    write_u16(message.bytes + 6, NLM_F_REQUEST | flags);
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

/* What is asked is done when it has been sent, and answered only if it failed. */
static bool ask(struct message *message) {
    uint8_t answer[1024];
    write_u32(message->bytes, (uint32_t)message->length);
    if (send(netlink, message->bytes, message->length, 0) < 0)
        return false;
    ssize_t got = recv(netlink, answer, sizeof answer, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN;
    int32_t number = -EPROTO;
    uint16_t type = 0;
    if (got >= 20) {
        memcpy(&type, answer + 4, sizeof type);
        memcpy(&number, answer + 16, sizeof number);
    }
    errno = type == NLMSG_ERROR ? -number : EPROTO;
    return false;
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

static struct ifreq about(const struct card *card) {
    struct ifreq request = {0};
    memcpy(request.ifr_name, card->name, sizeof request.ifr_name);
    return request;
}

static bool set_up(const struct card *card, bool up) {
    struct ifreq request = about(card);
    request.ifr_flags = up ? IFF_UP : 0;
    return ioctl(internet, SIOCSIFFLAGS, &request) == 0;
}

static bool set_mac(const struct card *card, const uint8_t *mac) {
    struct ifreq request = about(card);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, mac, 6);
    return ioctl(internet, SIOCSIFHWADDR, &request) == 0;
}

static bool set_mtu(struct card *card, uint32_t mtu) {
    struct ifreq request = about(card);
    request.ifr_mtu = (int)mtu;
    if (mtu == card->mtu)
        return true;
    card->mtu = mtu;
    return ioctl(internet, SIOCSIFMTU, &request) == 0;
}

/* Only a card that is down changes its name. */
static bool set_name(struct card *card, const char *name) {
    struct ifreq request = about(card);
    if (!strcmp(card->name, name))
        return true;
    strcpy(request.ifr_newname, name);
    if (!set_up(card, false) || ioctl(internet, SIOCSIFNAME, &request))
        return false;
    strcpy(card->name, name);
    return set_up(card, true);
}

/* A card without an address of IPv6 does without the one of its link, too, and is spared the talk that comes with it. */
static bool speak_six(struct card *card, bool speaks) {
    enum { AFTER_THE_MAC = 0, NONE = 1 };
    char path[80];
    if (card->speaks_six == speaks)
        return true;
    card->speaks_six = speaks;
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/addr_gen_mode", card->name);
    return write_file(path, speaks ? (char[]){'0' + AFTER_THE_MAC, 0} : (char[]){'0' + NONE, 0});
}

static bool add_address(struct card *card, const char *text) {
    struct prefix prefix;
    if (!parse_prefix(text, &prefix) || (prefix.family == AF_INET6 && !speak_six(card, true)))
        return false;
    /* The host made sure that the address is ours alone; the guest would only wait to find out again. And it tells all
     * the routes that there are: the kernel's own, to all neighbours at once, would come before the one by the host. */
    uint32_t flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE;
    struct address_part part = {.family = prefix.family, .prefix = prefix.bits, .index = (uint32_t)card->index};
    struct message message = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &part, sizeof part);
    add(&message, IFA_LOCAL, prefix.bytes, prefix.size);
    add(&message, IFA_ADDRESS, prefix.bytes, prefix.size);
    add(&message, IFA_FLAGS, &flags, sizeof flags);
    return ask(&message);
}

static bool add_route(const struct card *card, const char *destination, const char *gateway) {
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
    add(&message, RTA_OIF, &card->index, sizeof card->index);
    return ask(&message);
}

/* Those that are not the loopback, in the kernel's order. */
static void find_cards(void) {
    struct if_nameindex *all = if_nameindex();
    for (struct if_nameindex *one = all; one && one->if_index && card_count < INTERFACES; one++) {
        if (!strcmp(one->if_name, "lo") || !strncmp(one->if_name, "sit", 3))
            continue;
        struct card *card = &cards[card_count++];
        *card = (struct card){.index = (int)one->if_index, .speaks_six = true};
        strcpy(card->name, one->if_name);
        struct ifreq request = about(card);
        if (ioctl(internet, SIOCGIFMTU, &request) == 0)
            card->mtu = (uint32_t)request.ifr_mtu;
        if (!speak_six(card, false) || !set_up(card, true))
            say("interface %s: %s", card->name, strerror(errno));
    }
    if_freenameindex(all);
}

bool network_prepare(struct failure *failure) {
    static const struct card loopback = {.name = "lo"};
    struct sockaddr kernel = {.sa_family = AF_NETLINK};
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    internet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (netlink < 0 || connect(netlink, &kernel, 12) || internet < 0)
        return failed(failure, "netlink");
    if (!set_up(&loopback, true))
        return failed(failure, "bring lo up");
    find_cards();
    return true;
}

static bool configure(uint32_t number, struct reader *request, struct failure *failure) {
    const char *name = read_text(request);
    uint32_t length, address_count;
    const uint8_t *mac = read_bytes(request, &length);
    uint32_t mtu = read_u32(request);
    const char **addresses = read_texts(request, &address_count);
    if (request->bad || (length != 0 && length != 6) || !*name || strlen(name) >= IF_NAMESIZE) {
        request->bad = true;
        free(addresses);
        return true;
    }
    struct card *card = number < card_count ? &cards[number] : NULL;
    errno = ENODEV;
    if (card)
        card->is_somebodys = true;
    bool done = card && set_name(card, name) && (!length || set_mac(card, mac)) && (!mtu || set_mtu(card, mtu));
    if (!done)
        failed(failure, "set up interface %s", name);
    for (uint32_t i = 0; done && i < address_count; i++)
        if (!add_address(card, addresses[i]))
            done = failed(failure, "add address %.64s to %s", addresses[i], name);
    free(addresses);
    for (uint32_t left = read_count(request, 10); done && left > 0 && !request->bad; left--) {
        const char *destination = read_text(request);
        const char *gateway = read_text(request);
        if (!request->bad && !add_route(card, destination, gateway) && errno != EEXIST)
            done = failed(failure, "add route to %.64s by %.64s", destination, gateway);
    }
    return done;
}

bool configure_network(struct reader *request, struct failure *failure) {
    uint32_t count = read_count(request, 18);
    bool done = true;
    for (uint32_t number = 0; done && number < count && number < INTERFACES && !request->bad; number++)
        done = configure(number, request, failure);
    return done;
}

/* Without an address (0.0.0.0 is the kernel's word for "remove it"); going down, a card loses all that leads by it. */
static bool leave(struct card *card) {
    struct ifreq request = about(card);
    request.ifr_addr.sa_family = AF_INET;
    if (!card->is_somebodys)
        return true;
    card->is_somebodys = false;
    return (ioctl(internet, SIOCSIFADDR, &request) == 0 || errno == EADDRNOTAVAIL) && speak_six(card, false) &&
           set_up(card, false) && set_up(card, true);
}

bool leave_network(struct failure *failure) {
    for (uint32_t number = 0; number < card_count; number++)
        if (!leave(&cards[number]))
            return failed(failure, "leave the network");
    return true;
}
