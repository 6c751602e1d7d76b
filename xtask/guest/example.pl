# example.pl NAME [FILE]: types the example of docs/spec/ipmi.md that has this NAME, and compares what ipmitool prints with what is there; or
# finds that among the answers that ipmitool printed to FILE. Where the specification has a name for a byte, as in n0, it is what /tmp/known
# has, or becomes known.
my ($name, $file) = @ARGV;

sub lines {
    my ($path) = @_;
    open(my $handle, '<', $path) or die "cannot read $path: $!\n";
    return <$handle>;
}

my ($row) = grep { /^\| \Q$name\E \|/ } lines('ipmi.md');
my ($typed, $wanted) = ($row // '') =~ /\| `([^`]*)` \| `?([^`|]*)`? \|$/ or die "there is no example $name\n";
my %known = -e '/tmp/known' ? map { split } lines('/tmp/known') : ();
$typed =~ s/\b([g-z][0-9])\b/'0x' . ($known{$1} || die "$1 is not known\n")/ge;

my @said = defined $file ? lines($file) : qx(ipmitool raw $typed 2>&1);
my ($refusal) = map { /(rsp=0x[0-9a-f]{2})\)/ } @said;
# Nothing printed is an answer without data only if it was one.
die "ipmitool ended with $?, and no refusal: @said" if !defined $file and $? and !defined $refusal;
# An answer is lines that begin with a space, sixteen bytes in each.
my @answers = ('');
for (grep { /^ [0-9a-f]{2}\b/ } @said) {
    push(@answers, '') if /^ cf c2 00/ and $answers[-1] ne '';
    chomp;
    $answers[-1] .= $_;
}

sub is_wanted {
    my @found = split(' ', $_[0]);
    my @wanted = split(' ', $wanted);
    return if @found != @wanted;
    my %learnt = %known;
    for my $at (0 .. $#wanted) {
        my ($byte, $found) = ($wanted[$at], $found[$at]);
        next if $byte eq '..';
        $byte = $learnt{$byte} //= $found if $byte =~ /^[g-z]/;
        return if $byte ne $found;
    }
    %known = %learnt;
    return 1;
}

my $good = $wanted =~ /^rsp=/ ? ($refusal // '') eq $wanted : (!defined $refusal and grep { is_wanted($_) } @answers);
print "typed   $typed\nwanted  $wanted\nprinted ", $refusal // $answers[-1], "\n";
exit 1 unless $good;
open(my $memory, '>', '/tmp/known') or die "cannot write /tmp/known: $!\n";
print $memory "$_ $known{$_}\n" for sort keys %known;
