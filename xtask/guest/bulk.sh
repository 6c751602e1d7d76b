# Updates by the bulk door, watched: `. /guest/bulk.sh` after bmc.sh.
#
#   update_begins NAME PACKAGE       starts one; what it tells is in /tmp/NAME.log, an event in a line
#   wait_for_sent NAME PERCENT       waits until the BMC has taken so much of what it asked for in the exchange that there is
#   needed NAME                      prints how many bytes of chunks it has asked for, an exchange in a line
#   taken NAME EXCHANGE              prints how many bytes it took in that exchange, from 1; nothing if it asked for none
#   sends_the_rest TEST NAME LOST    passes if each exchange but the first asked for no more than what the ones before had left, and of what
#                                    they had brought for LOST bytes at most; and if all together sent no more than that
#   joined FIRST NAME                takes the log of an update that did not end for the beginning of the next one's
#   slot_holds TEST BMC SLOT IMAGE   passes if the slot begins with the image, to the byte

update_begins() {
    start "$1" inband --json update --door bulk "$2"
}

wait_for_sent() {
    wait_for 120 has_sent "$@" || die "$1 did not come to $2 %: $(tail -n 1 "/tmp/$1.log")"
}

has_sent() {
    awk -v percent="$2" '
        /"event":"lost"/ { reached = 0 }
        /"event":"progress"/ {
            split($0, word, /[:,}]/)
            reached = word[4] * 100 >= word[6] * percent
        }
        END { exit !reached }' "/tmp/$1.log"
}

needed() {
    sed -n 's/.*"event":"need","round":0,.*"needed":\([0-9]*\).*/\1/p' "/tmp/$1.log"
}

taken() {
    awk -v wanted="$2" '
        /"event":"need","round":0/ { exchange += 1 }
        /"event":"progress"/ && exchange == wanted {
            split($0, word, /[:,}]/)
            sent = word[4]
        }
        END { print sent }' "/tmp/$1.log"
}

# What goes over the wire besides chunks: an OFFER, and for each chunk a header and its filling, of which a package of this size has no more.
AROUND=262144

sends_the_rest() {
    local test=$1 name=$2 lost=$3 wanted left= all exchange=0 sent wrong=
    for wanted in $(needed "$name"); do
        exchange=$((exchange + 1))
        echo "---- exchange $exchange: asked for $wanted bytes, took $(taken "$name" $exchange)"
        if [ -n "$left" ] && [ "$wanted" -gt "$left" ]; then
            wrong="$wrong exchange $exchange asks for $wanted bytes, $left were left;"
        fi
        left=$((wanted - $(taken "$name" $exchange) + lost + AROUND))
    done
    all=$(needed "$name" | head -n 1)
    sent=$(sed -n 's/.*"event":"sent","total":\([0-9]*\).*/\1/p' "/tmp/$name.log")
    if [ "$exchange" -lt 2 ]; then
        fail "$test" "there was one exchange only"
    elif [ -n "$wrong" ]; then
        fail "$test" "$wrong"
    elif [ "${sent:-0}" -gt $((all + AROUND + (exchange - 1) * (lost + AROUND))) ]; then
        fail "$test" "$sent bytes were sent for a package that takes $all"
    else
        ok "$test"
    fi
}

joined() {
    cat "/tmp/$1.log" "/tmp/$2.log" >/tmp/both.log
    mv /tmp/both.log "/tmp/$2.log"
}

slot_holds() {
    check "$1" cmp -n "$(stat -c %s "$4")" "/tmp/$2/store/slot-$3.img" "$4"
}
