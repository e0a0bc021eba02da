# shellcheck shell=bash
# What the two server scripts share: free ports, and a server that ends by itself once nobody uses it any more.
# Needs perl, which every Debian, Ubuntu and macOS has: bash can neither bind a port nor hold a file lock.

# free_port: a port on 127.0.0.1 that nobody listens on, outside of the range the kernel hands out for outgoing
# connections, so that it is still free a second later.
free_port() {
  perl -MIO::Socket::INET -e '
    for (1 .. 200) {
      my $port = 20000 + int rand 12000;
      my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $port) or next;
      print "$port\n";
      exit 0;
    }
    exit 1;'
}

# stop_when_unused FILE SECONDS COMMAND...: a background process runs COMMAND once FILE has not been locked (flock, shared)
# by anyone for SECONDS. The kernel drops the locks of a killed process, so a killed test leaves no server behind. COMMAND
# runs while the file is locked exclusively: whoever comes next waits, and then starts the server again.
stop_when_unused() {
  nohup perl -MFcntl=:flock -MPOSIX=setsid -e '
    my ($file, $seconds, @command) = @ARGV;
    setsid();
    my $unused = 0;
    while (1) {
      sleep 1;
      # Not created anew when it is gone, and the directory with it: then the server has no business either.
      open(my $lock, "+<", $file) or last;
      my $free = flock($lock, LOCK_EX | LOCK_NB);
      $unused = $free ? $unused + 1 : 0;
      if ($unused >= $seconds) { system(@command); exit 0; }
      flock($lock, LOCK_UN) if $free;
      close $lock;
    }
    system(@command);' "$@" </dev/null >/dev/null 2>&1 &
}

# option NAME "$@": the word after NAME, or nothing.
option() {
  local name=$1
  shift
  while [ $# -gt 0 ]; do
    if [ "$1" = "$name" ]; then
      echo "${2:-}"
      return
    fi
    shift
  done
}

# flag NAME "$@": is it among the words?
flag() {
  local name=$1 word
  shift
  for word in "$@"; do
    if [ "$word" = "$name" ]; then return 0; fi
  done
  return 1
}

# require_unused PORT: with the owner, because "address in use" helps nobody.
require_unused() {
  if port_in_use "$1"; then
    fail "port $1 is in use by $(port_owner "$1")" "stop it, or choose another port"
  fi
}

# absolute PATH: which need not exist.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
