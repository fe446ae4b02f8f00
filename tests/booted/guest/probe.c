/* A client and a server of a few milliseconds: asks the internet's host by what address it was reached.
 *   probe [-u] [-f] [-i] [-w SECONDS] [-t SECONDS] [-b ADDRESS] ADDRESS PORT
 *   probe [-u] -l PORT
 * Prints "ADDRESS PORT" as the peer saw it, or "none" and the reason, exit 1.
 * -u UDP; -f goes on: sends each line of standard input and prints the answer; -w waits before it makes
 * the socket, -i until there is a line on standard input; -W waits between socket and connect; -t the
 * patience with each answer (3); -b binds; -l listens, IPv4 and IPv6, tells each who comes its address,
 * and prints it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int datagrams, flow, patience = 3;

static int none(const char *what)
{
    printf("none %s: %s\n", what, strerror(errno));
    return 1;
}

static int answer(int fd)
{
    char octets[512];
    size_t length = 0;

    while (length < sizeof octets - 1) {
        ssize_t got = read(fd, octets + length, sizeof octets - 1 - length);
        if (got < 0)
            return none("read");
        if (got == 0) {
            errno = ECONNRESET;
            return none("end");
        }
        length += (size_t) got;
        if (octets[length - 1] == '\n')
            break;
    }
    octets[length] = 0;
    fputs(octets, stdout);
    return 0;
}

static struct addrinfo *address_of(const char *host, const char *port, int flags)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | flags};
    struct addrinfo *found;

    hints.ai_socktype = datagrams ? SOCK_DGRAM : SOCK_STREAM;
    if (getaddrinfo(host, port, &hints, &found)) {
        fprintf(stderr, "probe: not an address and port: %s %s\n", host ? host : "*", port);
        exit(2);
    }
    return found;
}

static int listener(const char *port)
{
    struct sockaddr_in6 peer;
    char name[INET6_ADDRSTRLEN];
    int one = 1, fd = socket(AF_INET6, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0);
    struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short) atoi(port))};

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *) &own, sizeof own) || (!datagrams && listen(fd, 64)))
        return none("listen");
    puts("listening");
    for (;;) {
        char line[INET6_ADDRSTRLEN + 16];
        socklen_t size = sizeof peer;
        int client = datagrams ? fd : accept(fd, (struct sockaddr *) &peer, &size);
        if (client < 0)
            return none("accept");
        if (datagrams && recvfrom(fd, line, sizeof line, 0, (struct sockaddr *) &peer, &size) < 0)
            return none("recvfrom");
        inet_ntop(AF_INET6, &peer.sin6_addr, name, sizeof name);
        const char *plain = strncmp(name, "::ffff:", 7) ? name : name + 7;
        int length = snprintf(line, sizeof line, "%s %d\n", plain, ntohs(peer.sin6_port));
        /* a stream's peer may be gone already: SIGPIPE would end this program */
        sendto(client, line, (size_t) length, MSG_NOSIGNAL, datagrams ? (struct sockaddr *) &peer : NULL,
               datagrams ? size : 0);
        printf("from %s\n", plain);
        if (!datagrams)
            close(client);
    }
}

static int client(const char *host, const char *port, const char *from, int pause)
{
    char line[256];
    struct addrinfo *to = address_of(host, port, 0);
    struct timeval limit = {.tv_sec = patience};
    int fd = socket(to->ai_family, to->ai_socktype, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (pause) {
        puts("socket");
        sleep((unsigned) pause);
    }
    if (from) {
        struct addrinfo *own = address_of(from, "0", 0);
        if (bind(fd, own->ai_addr, own->ai_addrlen))
            return none("bind");
    }
    if (connect(fd, to->ai_addr, to->ai_addrlen))
        return none("connect");
    if (datagrams && write(fd, "?\n", 2) < 0)
        return none("write");
    if (answer(fd))
        return 1;
    while (flow && fgets(line, sizeof line, stdin)) {
        if (write(fd, line, strlen(line)) < 0)
            none("write");
        else
            answer(fd);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *from = NULL, *listen_on = NULL;
    int option, pause = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt(argc, argv, "46ufiw:W:t:b:l:")) != -1) {
        switch (option) {
        case '4': case '6': break;
        case 'u': datagrams = 1; break;
        case 'f': flow = 1; break;
        case 'i': while ((option = getchar()) != '\n' && option != EOF); break;
        case 'w': sleep((unsigned) atoi(optarg)); break;
        case 'W': pause = atoi(optarg); break;
        case 't': patience = atoi(optarg); break;
        case 'b': from = optarg; break;
        case 'l': listen_on = optarg; break;
        default: return 2;
        }
    }
    if (listen_on)
        return listener(listen_on);
    if (argc - optind != 2) {
        fputs("usage: probe [-ufi] [-w S] [-W S] [-t S] [-b ADDRESS] ADDRESS PORT | probe [-u] -l PORT\n", stderr);
        return 2;
    }
    return client(argv[optind], argv[optind + 1], from, pause);
}
