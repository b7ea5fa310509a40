"""This layout beside what people would use instead: scripts/bench peers [queue] [app] …"""
