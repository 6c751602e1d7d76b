# kcs.pl [abort-request|abort-reply] BYTE...: sends the BMC a request by the ports of its KCS interface (IPMI 9), which no driver has, says that it is sent, and
# prints the reply; or drops the request in the middle, or the reply behind its first byte.
my $abort = $ARGV[0] =~ /^abort/ ? shift : '';
my @request = map { hex } @ARGV;

# The registers, and what is in that of the status.
my ($DATA, $STATUS) = (0xca2, 0xca3);
my ($OUT_FULL, $IN_FULL) = (1, 2);
my ($IDLE, $READ, $WRITE, $ERROR) = (0, 1, 2, 3);
my ($ABORT, $WRITE_START, $WRITE_END, $READ_NEXT) = (0x60, 0x61, 0x62, 0x68);

open(my $ports, '+<', '/dev/port') or die "cannot open /dev/port: $!\n";

sub get {
    sysseek($ports, $_[0], 0);
    sysread($ports, my $byte, 1) == 1 or die "cannot read a port: $!\n";
    return ord($byte);
}

sub put {
    sysseek($ports, $_[0], 0);
    syswrite($ports, chr($_[1]), 1) == 1 or die "cannot write a port: $!\n";
}

sub state {
    return get($STATUS) >> 6;
}

# Waits until the status has these bits, and not those.
sub wait_for {
    my ($set, $clear) = @_;
    my $end = time + 10;
    while ((get($STATUS) & ($set | $clear)) != $set) {
        die "the interface does not answer\n" if time > $end;
    }
}

# What one write is, by either register.
sub send_to {
    put(@_);
    wait_for(0, $IN_FULL);
    get($DATA) if get($STATUS) & $OUT_FULL and state() != $READ;
}

sub next_byte {
    wait_for($OUT_FULL, 0);
    return get($DATA);
}

sub drop {
    send_to($STATUS, $ABORT);
    put($DATA, 0);
    state() == $READ or die "not aborted\n";
    my $why = next_byte();
    put($DATA, $READ_NEXT);
    wait_for(0, $IN_FULL);
    state() == $IDLE or die "not idle behind an abort\n";
    get($DATA);
    printf "aborted, %02x\n", $why;
    exit;
}

wait_for(0, $IN_FULL);
get($DATA) if get($STATUS) & $OUT_FULL;
send_to($STATUS, $WRITE_START);
my $last = pop(@request);
for (0 .. $#request) {
    state() == $WRITE or die "no state to write in\n";
    drop() if $abort eq 'abort-request' and $_ == 2;
    send_to($DATA, $request[$_]);
}
send_to($STATUS, $WRITE_END);
put($DATA, $last);
$| = 1;
print "sent\n";

my @reply;
while (1) {
    wait_for($OUT_FULL, $IN_FULL);
    last if state() == $IDLE;
    state() == $READ or die "no state to read in\n";
    push(@reply, sprintf('%02x', get($DATA)));
    drop() if $abort eq 'abort-reply';
    put($DATA, $READ_NEXT);
}
get($DATA);
print "@reply\n";
